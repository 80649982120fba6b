"""Attempts of deploy tasks, as a worker would make them, against the double of Vercel's API."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import structlog

from opsagent_queue import EventPriority, EventType, Task
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.deploy import Deploy
from opsagent_worker.handlers.deploy_polling import Polling
from opsagent_worker.vercel import VercelApi

TOKEN: Final = "vercel-token-of-the-test"
TEAM: Final = "team_of_the_test"
INTERVAL: Final = 0.01
DEADLINE_SECONDS: Final = 20.0


def deploy_task(*, project: str = "web", **payload: Any) -> Task:
    return Task.new(type="deploy", payload={"project": project, **payload}, assigned_to="ops")


@dataclass
class Worker:
    """Runs attempts; what they tell is kept."""

    client: httpx.AsyncClient
    api: VercelApi
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    patience: float = 60.0
    task_cancelled: bool = False

    async def attempt(self, task: Task) -> Mapping[str, Any]:
        context = TaskContext(
            task=task,
            attempt=1,
            emit=self._emit,
            log=structlog.get_logger(),
            report_progress=lambda _fraction, message: self.progress.append(message),
            is_task_cancelled=lambda: self.task_cancelled,
        )
        return await Deploy(self.api, Polling(INTERVAL, self.patience))(context)

    @contextlib.asynccontextmanager
    async def attempting(self, task: Task) -> AsyncIterator["asyncio.Task[Mapping[str, Any]]"]:
        """An attempt that runs meanwhile; interrupted at the end, as often as that takes."""
        running = asyncio.create_task(self.attempt(task))
        try:
            yield running
        finally:
            await interrupt(running)

    async def _emit(
        self,
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> None:
        del priority
        self.events.append((event_type, payload))

    @property
    def event_types(self) -> list[str]:
        return [event_type for event_type, _ in self.events]


async def interrupt(running: "asyncio.Task[Mapping[str, Any]]") -> None:
    """Cancels an attempt again and again until it ends, as a worker does."""
    while not running.done():
        running.cancel()
        await asyncio.wait([running], timeout=0.02)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)
