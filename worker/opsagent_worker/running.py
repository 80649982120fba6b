"""A claimed task and whether its run has been interrupted."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto

from opsagent_queue import Claim, Lease


class Interruption(Enum):
    LEASE_LOST = auto()
    """The queue says that the task is no longer ours."""
    LEASE_EXPIRED = auto()
    """It could not be renewed in time: it may be somebody else's by now."""
    DRAINED = auto()
    """The worker stops and the time for running tasks is over."""


@dataclass(slots=True, eq=False)
class RunningTask:
    claim: Claim
    deadline: float
    """Monotonic second up to which the lease surely lasts: when the last grant was asked for, plus its length."""
    interruption: Interruption | None = None
    _handler: "asyncio.Task[None] | None" = field(default=None, init=False)

    @property
    def lease(self) -> Lease:
        return self.claim.lease

    def interrupt(self, why: Interruption) -> None:
        """Cancels the handler, if it runs; the first reason stays. Reporting is never cancelled by this.

        May be repeated while the handler runs on, and should be: a cancellation can get lost (see cancellation.py).
        """
        if self.interruption is None:
            self.interruption = why
        if self._handler is not None:
            self._handler.cancel()

    def handler_started(self) -> None:
        """From here on the current asyncio task may be cancelled by an interruption."""
        self._handler = asyncio.current_task()

    def handler_ended(self) -> None:
        """Takes cancellations back, so that what follows (the report) runs undisturbed."""
        task, self._handler = self._handler, None
        while self.interruption is not None and task is not None and task.cancelling():
            task.uncancel()
