"""What a handler is given and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from opsagent_queue import EventPriority, EventType, Task


class Emit(Protocol):
    """Publishes an event about the running task. Best effort, as pub/sub is: a lost event fails no task."""

    def __call__(
        self,
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    task: Task
    attempt: int
    """1-based."""
    emit: Emit
    log: FilteringBoundLogger


Handler = Callable[[TaskContext], Awaitable[Mapping[str, Any]]]
"""Runs one task and returns its result, which must be JSON.

Raises `PermanentError` or `RetryableError`; any other exception counts as retryable. A handler may be cancelled at any
`await`, and its task may run again from the start: what it does to the world must bear repetition.
"""
