"""A claimed task, from its claim until the queue knows how it ended."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from opsagent_queue import Claim, Lease
from opsagent_worker.handlers.context import TaskHandler
from opsagent_worker.logs import TaskFields


class Interruption(Enum):
    LEASE_LOST = auto()
    """The queue says that the task is no longer ours."""
    LEASE_EXPIRED = auto()
    """It could not be renewed in time: it may be somebody else's by now."""
    CANCELLED = auto()
    """Somebody cancelled the task."""
    TIMED_OUT = auto()
    """The attempt has taken as long as it may."""
    DRAINED = auto()
    """The worker stops and the time for running tasks is over."""
    ABANDONED = auto()
    """The same, and its handler ignored it: the task is handed back while it still runs."""


@dataclass(slots=True, eq=False)
class RunningTask:
    claim: Claim
    deadline: float
    """Monotonic second up to which the lease surely lasts: when the last grant was asked for, plus its length."""
    handler: TaskHandler | None
    """None: this worker has none for the task's type."""
    label: str
    """The task's type in metrics: `other` if there is no handler."""
    interruption: Interruption | None = None
    job: "asyncio.Task[None] | None" = field(default=None, init=False)
    """Runs the handler; None before and after."""
    timer: asyncio.TimerHandle | None = field(default=None, init=False)
    """Goes off when the handler's time is over; see `TimeLimits`."""
    fields: TaskFields = field(init=False)

    def __post_init__(self) -> None:
        task, lease = self.claim.task, self.claim.lease
        self.fields = TaskFields(task.task_id, task.trace_id, task.type, lease.attempt)

    @property
    def lease(self) -> Lease:
        return self.claim.lease

    def interrupt(self, why: Interruption) -> None:
        """Cancels the handler, if it runs; the first reason stays.

        May be repeated while the handler runs on, and should be: a cancellation can get lost (see cancellation.py).
        """
        if self.interruption is None:
            self.interruption = why
        if self.job is not None:
            self.job.cancel()

    def abandon(self) -> None:
        """Cancels the handler for the last time; whatever comes of it no longer matters."""
        self.interruption = Interruption.ABANDONED
        if self.job is not None:
            self.job.cancel()

    def interrupted(self) -> bool:
        return self.interruption is not None

    def cancelled(self) -> bool:
        return self.interruption is Interruption.CANCELLED


class Watcher(Protocol):
    """Somebody who wants to know which tasks run. Neither method may block or raise; both are on the hot path."""

    def add(self, running: RunningTask) -> None:
        """It is about to start."""

    def remove(self, running: RunningTask) -> None:
        """Its handler has ended; how, is not yet known to the queue."""
