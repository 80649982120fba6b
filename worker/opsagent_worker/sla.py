"""Tells when a task is about to miss its deadline, and when it has missed it.

A task may carry `sla: {target, deadline, alert_threshold}`, which other programs write in more than one way; `read_sla`
says which ones are understood. A watched task costs one timer; a task without an `sla` costs one comparison.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, assert_never

import structlog
from pydantic import TypeAdapter, ValidationError

from opsagent_queue import EventPriority, EventType, QueueError, Task, TaskQueue, parse_time
from opsagent_worker.durations import parse_duration
from opsagent_worker.events import EventPublisher
from opsagent_worker.metrics import Metrics
from opsagent_worker.running import RunningTask

log = structlog.get_logger()

DEFAULT_THRESHOLD: Final = 0.8
"""Of the way to the deadline, at which a warning is due if the task does not say."""

# Numbers from here on are moments, not durations: the first is in 2001, the second, in ms, in 1973.
_FIRST_EPOCH_SECONDS: Final = 1e9
_FIRST_EPOCH_MS: Final = 1e11

# Both ends of the calendar.
_FIRST_MOMENT: Final = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC).timestamp()

# Of what cannot be read, one line for each type of task and reason; more than this many are not worth telling apart.
_MOST_COMPLAINTS: Final = 100

_RETRY_SECONDS: Final = 5.0

# A backlog of tasks that are all late brings thousands of events a second; the other connections are for other things.
_AT_ONCE: Final = 4
_MOST_DUE: Final = 10_000

_ISO_DURATION: Final = TypeAdapter(timedelta)

Kind = Literal["warning", "violation"]


class UnreadableSlaError(ValueError):
    """The task's `sla` says nothing we understand; the message names the field."""


@dataclass(frozen=True, slots=True)
class Sla:
    """What was promised about a task. Moments are wall-clock seconds since 1970."""

    target: Any
    """As the producer wrote it."""
    begins: float
    deadline: float
    threshold: float
    """Fraction of the way from `begins` to `deadline`."""

    @property
    def warning(self) -> float:
        return self.begins + max(0.0, self.deadline - self.begins) * self.threshold


def read_sla(task: Task, *, now: float) -> Sla | None:
    """What `task.sla` promises; None if it has none.

    - `deadline`: a moment (ISO 8601, or seconds or milliseconds since 1970), or a duration since `created_at`: seconds,
      `90s`, `1h30m`, ISO 8601 (`PT15M`) or `00:15:00`. Where it is absent, `target` is read the same way.
    - `alert_threshold`: a fraction up to 1, a percentage above 1 or with `%`; 0.8 where it is absent.

    A task without a readable `created_at` is taken to begin at `now`.

    Raises:
        UnreadableSlaError: it is none of these.
    """
    if not task.sla:
        return None
    created = parse_time(task.created_at)
    begins = now if created is None else created.timestamp()
    target = task.sla.get("target")
    name = "target" if task.sla.get("deadline") is None else "deadline"
    return Sla(
        target=target,
        begins=begins,
        deadline=_moment(name, task.sla.get(name), begins=begins),
        threshold=_threshold(task.sla.get("alert_threshold")),
    )


def _moment(name: str, value: Any, *, begins: float) -> float:
    moment = parse_time(value.strip()) if isinstance(value, str) else None
    seconds = moment.timestamp() if moment is not None else _seconds(name, value, begins=begins)
    if not _FIRST_MOMENT <= seconds < _LAST_MOMENT:
        raise UnreadableSlaError(f"{name} is not between the years 1 and 9999")
    return seconds


def _seconds(name: str, value: Any, *, begins: float) -> float:
    number = _number(value)
    if number is None and isinstance(value, str):
        number = _duration(value.strip())
    if number is None or number < 0:
        raise UnreadableSlaError(f"{name} is neither a moment nor a duration")
    if number >= _FIRST_EPOCH_MS:
        return number / 1000
    if number >= _FIRST_EPOCH_SECONDS:
        return number
    return begins + number


def _duration(text: str) -> float | None:
    try:
        return parse_duration(text).total_seconds()
    except ValueError:
        pass
    try:
        return _ISO_DURATION.validate_python(text).total_seconds()
    except ValidationError:
        return None


def _threshold(value: Any) -> float:
    if value is None:
        return DEFAULT_THRESHOLD
    percent = isinstance(value, str) and value.strip().endswith("%")
    number = _number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    if number is not None and (percent or number > 1):
        number /= 100
    if number is None or not 0 <= number <= 1:
        raise UnreadableSlaError("alert_threshold is neither a fraction nor a percentage")
    return number


def _number(value: Any) -> float | None:
    """A finite number, or the text of one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


@dataclass(slots=True, eq=False)
class _Watched:
    running: RunningTask
    sla: Sla
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class _Due:
    kind: Kind
    running: RunningTask
    sla: Sla
    at: float


@dataclass(slots=True, kw_only=True)
class SlaWatch:
    """Publishes `sla.warning` and `sla.violation`, each at most once for a task, whoever runs it and how often.

    Which of them has been published is remembered beside the queue, for `memory_ms`. A task that starts when its
    deadline has passed gets the violation only. Nobody watches a task that merely waits: it is told when it starts.

    Moments are compared with this machine's clock, because the deadline was written by another machine's and not by Redis.
    """

    queue: TaskQueue
    events: EventPublisher
    metrics: Metrics
    pod_name: str
    memory_ms: int
    retry_seconds: float = _RETRY_SECONDS
    """Between two tries while Redis is away."""
    clock: Callable[[], float] = time.time
    _watched: dict[RunningTask, _Watched] = field(default_factory=dict, init=False)
    _due: "asyncio.Queue[_Due]" = field(default_factory=asyncio.Queue, init=False)
    _complaints: set[str] = field(default_factory=set, init=False)

    def add(self, running: RunningTask) -> None:
        """Watches a task that starts, if it has an `sla`."""
        task = running.claim.task
        if task.sla is None:
            return
        try:
            sla = read_sla(task, now=self.clock())
        except UnreadableSlaError as error:
            self._complain(running.label, str(error))
            return
        if sla is not None:
            watched = self._watched[running] = _Watched(running, sla)
            self._look(watched, from_warning=True)

    def remove(self, running: RunningTask) -> None:
        """Its attempt is over; if the deadline passed just before, that is told although the timer has not fired."""
        if not self._watched:
            return
        watched = self._watched.pop(running, None)
        if watched is None or watched.timer is None:
            return
        watched.timer.cancel()
        if self.clock() >= watched.sla.deadline:
            self._tell("violation", watched)

    async def run(self) -> None:
        """Publishes what is due. While Redis is away it waits: what happened then is told later, 10,000 events at most."""
        while True:
            batch = [await self._due.get()]
            while len(batch) < _AT_ONCE and not self._due.empty():
                batch.append(self._due.get_nowait())
            if not all(await asyncio.gather(*map(self._published, batch))):
                await asyncio.sleep(self.retry_seconds)

    async def _published(self, due: _Due) -> bool:
        """Whether it is done with; if not, it is tried again."""
        try:
            await self._publish_once(due)
        except QueueError as error:
            self.metrics.redis_errors.labels("sla").inc()
            log.debug("an SLA event waits for Redis", reason=str(error))
            self._due.put_nowait(due)
            return False
        except Exception:
            # It repeats what a producer wrote; whatever that does here must not end the worker.
            log.exception("an SLA event cannot be published", task_id=due.running.lease.task_id)
        return True

    def _look(self, watched: _Watched, *, from_warning: bool) -> None:
        """Tells what is due, and sets the timer for what comes next."""
        now, sla = self.clock(), watched.sla
        watched.timer = None
        if now >= sla.deadline:
            self._tell("violation", watched)
            return
        if from_warning and now < sla.warning:
            self._look_at(sla.warning, watched, from_warning=True)
            return
        if from_warning:
            self._tell("warning", watched)
        self._look_at(sla.deadline, watched, from_warning=False)

    def _look_at(self, moment: float, watched: _Watched, *, from_warning: bool) -> None:
        watched.timer = asyncio.get_running_loop().call_later(
            moment - self.clock(), lambda: self._look(watched, from_warning=from_warning)
        )

    def _tell(self, kind: Kind, watched: _Watched) -> None:
        if self._due.qsize() >= _MOST_DUE:
            self.metrics.dropped_events.labels(f"sla.{kind}").inc()
            return
        self._due.put_nowait(_Due(kind, watched.running, watched.sla, self.clock()))

    async def _publish_once(self, due: _Due) -> None:
        if await self._is_first(due):
            await self._publish(due)

    async def _is_first(self, due: _Due) -> bool:
        """Whether nobody has told this about this task before; still true when it is asked anew because the answer was lost."""
        lease = due.running.lease
        name, us = f"sla:{due.kind}:{lease.task_id}", f"{lease.owner} {lease.fence}"
        notes = self.queue.notes()
        if await notes.put_if_absent(name, us, ttl_ms=self.memory_ms):
            return True
        return await notes.get(name) == us

    async def _publish(self, due: _Due) -> None:
        task, sla = due.running.claim.task, due.sla
        payload = {
            "task_type": task.type,
            "target": sla.target,
            "deadline": datetime.fromtimestamp(sla.deadline, UTC).isoformat(),
            "elapsed_seconds": round(due.at - sla.begins, 3),
            "allowed_seconds": round(sla.deadline - sla.begins, 3),
            "remaining_seconds": round(sla.deadline - due.at, 3),
            "threshold": sla.threshold,
            "attempt": due.running.lease.attempt,
            "worker": self.pod_name,
        }
        fields = {"task_id": task.task_id, "trace_id": task.trace_id, "task_type": task.type}
        match due.kind:
            case "warning":
                log.warning("the task's deadline is near", deadline=payload["deadline"], **fields)
                event_type, priority = EventType.SLA_WARNING, EventPriority.HIGH
            case "violation":
                log.warning(
                    "the task's deadline has passed", deadline=payload["deadline"], **fields
                )
                event_type, priority = EventType.SLA_VIOLATION, EventPriority.CRITICAL
            case _:
                assert_never(due.kind)
        self.metrics.sla_events.labels(due.running.label, due.kind).inc()
        await self.events.publish(event_type, payload, task=task, priority=priority)

    def _complain(self, label: str, reason: str) -> None:
        complaint = f"{label}: {reason}"
        if complaint not in self._complaints and len(self._complaints) < _MOST_COMPLAINTS:
            self._complaints.add(complaint)
            log.warning("an SLA cannot be read and is ignored", task_type=label, reason=reason)
