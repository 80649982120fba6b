"""Looks at everything at once; a part that cannot be seen takes nothing from the others."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from opsagent_queue import DeadLetter, Ended, QueueError, Results, Snapshot, TaskQueue, parse_time
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.services import Services
from opsagent_worker.errors import TaskError
from opsagent_worker.investigation.observation import Failure, Observation, Unseen
from opsagent_worker.outbound import describe
from opsagent_worker.vercel import Deployment, VercelApi

_PATIENCE_SECONDS: Final = 20.0
"""For each part. A health check has its own, shorter one."""

_MOST_LETTERS: Final = 100
_MOST_DEPLOYMENTS: Final = 20
_MOST_MINUTES: Final = 120
"""As long as results by version are kept."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observer:
    queue: TaskQueue
    services: Services
    vercel: VercelApi | None

    async def observe(self, *, window: timedelta, project: str | None) -> Observation:
        """`project`: whose deployments; None: the whole team's."""
        now = datetime.now(UTC)
        async with asyncio.TaskGroup() as group:

            def look(part: Awaitable[T]) -> asyncio.Task[T | Unseen]:
                return group.create_task(_seen(part))

            services = look(self._services())
            queue = look(self.queue.snapshot())
            counters = look(self.queue.counters())
            failures = look(self._failures(since=now - window))
            deployments = look(self._deployments(project, since=now - window))
        snapshot = queue.result()
        return Observation(
            now=now,
            window=window,
            services=services.result(),
            queue=snapshot,
            counters=counters.result(),
            failures=failures.result(),
            versions=await _seen(self._versions(snapshot, window)),
            deployments=deployments.result(),
        )

    async def _services(self) -> Mapping[str, HealthReport]:
        names = self.services.names
        reports = await asyncio.gather(*map(self.services.check, names))
        return dict(zip(names, reports, strict=True))

    async def _failures(self, *, since: datetime) -> list[Failure]:
        """From what ended lately and from the dead letters, which know less of the one and more of the other."""
        ended, letters = await asyncio.gather(
            self.queue.recent(), self.queue.dead_letters(limit=_MOST_LETTERS)
        )
        failures = {one.task_id: _from_end(one) for one in ended if one.status == "failed"}
        failures |= {letter.task_id: _from_letter(letter) for letter in letters}
        oldest = datetime.min.replace(tzinfo=UTC)
        recent = [one for one in failures.values() if one.at is None or one.at >= since]
        return sorted(recent, key=lambda failure: failure.at or oldest, reverse=True)

    async def _versions(self, queue: Snapshot | Unseen, window: timedelta) -> Mapping[str, Results]:
        if isinstance(queue, Unseen):
            raise TaskError(queue.reason)
        versions = sorted({beat.version for beat in queue.workers.values()})
        minutes = min(_MOST_MINUTES, max(1, round(window.total_seconds() / 60)))
        results = [await self.queue.results(version, minutes=minutes) for version in versions]
        return dict(zip(versions, results, strict=True))

    async def _deployments(
        self, project: str | None, *, since: datetime
    ) -> list[Deployment] | None:
        if self.vercel is None:
            return None
        return await self.vercel.recent_deployments(
            since=since, project=project, limit=_MOST_DEPLOYMENTS
        )


async def _seen(part: Awaitable[T]) -> T | Unseen:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await part
    except TimeoutError:
        return Unseen(f"no answer within {_PATIENCE_SECONDS:g} s")
    except (QueueError, TaskError) as error:
        return Unseen(describe(error))


def _from_end(ended: Ended) -> Failure:
    return Failure(
        task_id=ended.task_id,
        type=ended.type or "unknown",
        version=ended.version,
        error=ended.error or "",
        error_class=ended.error_class or "unknown",
        at=parse_time(ended.at),
    )


def _from_letter(letter: DeadLetter) -> Failure:
    return Failure(
        task_id=letter.task_id,
        type=letter.task.type if letter.task is not None else "unknown",
        version=letter.versions[-1] if letter.versions else "unknown",
        error=letter.error,
        error_class=letter.error_class or letter.reason,
        at=datetime.fromtimestamp(letter.died_ms / 1000, UTC),
    )
