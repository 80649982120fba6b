"""What a handler is given, and what the worker knows of a handler."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, Protocol

from structlog.typing import FilteringBoundLogger

from opsagent_queue import EventPriority, EventType, Task
from opsagent_worker.durations import parse_duration
from opsagent_worker.errors import PermanentError, RetryableError, TaskCancelledError


class Emit(Protocol):
    """Publishes an event about the running task. Best effort, as pub/sub is: a lost event fails no task."""

    def __call__(
        self,
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> Awaitable[None]: ...


ReportProgress = Callable[[float | None, str], None]
"""Takes note of how far the task is: a fraction from 0 to 1 (None: unknown) and a message.

Never blocks or raises, may be called as often as a handler likes and from any thread; what becomes of the note happens
later.
"""


def _to_nobody(_fraction: float | None, _message: str) -> None:
    pass


def _not_cancelled() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """One attempt of one task, as its handler sees it."""

    task: Task
    attempt: int
    """1-based. An attempt that was interrupted (drain, lost lease) does not count."""
    emit: Emit
    """Awaited in an async handler; in a sync one the call returns when the event is published."""
    log: FilteringBoundLogger
    """Writes the task's id, type, trace id and attempt on every line."""
    deadline: float = math.inf
    """`time.monotonic()` second at which this attempt will have taken too long."""
    report_progress: ReportProgress = _to_nobody
    is_cancelled: Callable[[], bool] = _not_cancelled
    is_task_cancelled: Callable[[], bool] = _not_cancelled

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task, and for no other task.

        Send it with each request that must take effect once. A task that makes several such requests puts something
        of its own behind it: `f"{context.idempotency_key}:invoice"`.
        """
        return self.task.task_id

    def remaining(self) -> float:
        """Seconds left to this attempt, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Tells how far the task is: `fraction` from 0 to 1 (what lies outside counts as the nearer end), or unknown."""
        if fraction is not None:
            fraction = None if math.isnan(fraction) else min(1.0, max(0.0, fraction))
        self.report_progress(fraction, message)

    def retry(self, *, after: float | str | timedelta | None = None, reason: str) -> NoReturn:
        """Ends this attempt; the task is tried again while it has attempts left.

        `after` is the shortest wait: seconds, or `90s`, `5m`. Without it the usual back-off applies.

        Raises:
            RetryableError: always; it is how the attempt ends.
            ValueError: `after` is not a duration.
        """
        if after is not None and not isinstance(after, int | float):
            after = parse_duration(after).total_seconds()
        raise RetryableError(reason, retry_after=after)

    def fail_permanently(self, reason: str) -> NoReturn:
        """Ends the task: another attempt would fail the same way.

        Raises:
            PermanentError: always; it is how the task ends.
        """
        raise PermanentError(reason)

    @property
    def cancelled(self) -> bool:
        """Whether to stop: the time is over, the task was cancelled or given away, or the worker is about to end.

        For sync handlers, whose thread nobody can end from outside. An async handler is interrupted at its `await`.
        """
        return self.is_cancelled() or time.monotonic() >= self.deadline

    @property
    def task_cancelled(self) -> bool:
        """Whether somebody cancelled the task itself.

        For what a handler has going on elsewhere: no further attempt will take it up, so this one should end it. Any
        other interruption (drain, lost lease, time-out) leaves it to the next attempt.
        """
        return self.is_task_cancelled()

    def check(self) -> None:
        """Call it between two steps of a sync handler: raises when it is time to stop.

        Raises:
            TaskCancelledError: see `cancelled`. No `except Exception` catches it.
        """
        if self.cancelled:
            raise TaskCancelledError


Run = Callable[[TaskContext], Awaitable[Mapping[str, Any] | None]]
"""Runs one attempt of a task and returns the task's result, which must be JSON.

Raises `PermanentError` or `RetryableError`; any other exception counts as retryable. It may be cancelled at any `await`,
and its task may run again from the start: what it does to the world must bear repetition.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHandler:
    """How tasks of one type are run."""

    type: str
    run: Run
    timeout: float | None = None
    """Seconds one attempt may take; None: what the worker allows any task."""
    concurrency: int | None = None
    """Tasks of this type that one worker runs at once; None: as many as it has slots."""
