"""Keeps the leases of claimed tasks alive, and interrupts a task whose lease is gone or that was cancelled."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from opsagent_queue import QueueError, Renewed, TaskQueue
from opsagent_worker.backoff import Backoff, spread
from opsagent_worker.metrics import Metrics
from opsagent_worker.running import Interruption, RunningTask

log = structlog.get_logger()

# A lease is renewed when a third of it is over: two more tries fit before it ends.
_RENEWALS_PER_LEASE: Final = 3


class LeaseKeeper:
    """Renews by explicit ids, at every third of the lease, over a connection that nothing else uses.

    `queue` must be that connection's: renewals then never wait behind claims and reports. A lease is kept until the queue
    knows how its task ended, not only while its handler runs.
    """

    def __init__(
        self,
        queue: TaskQueue,
        *,
        lease_seconds: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._lease_seconds = lease_seconds
        self._interval = lease_seconds / _RENEWALS_PER_LEASE
        self._backoff = Backoff(base=self._interval / 8, ceiling=self._interval / 2)
        self._metrics = metrics
        self._clock = clock
        self._held: dict[str, RunningTask] = {}
        self._suspects: set[str] = set()
        self._news = asyncio.Event()
        self._due = clock() + spread(self._interval)

    def add(self, running: RunningTask) -> None:
        """Keeps this lease from now on. An older lease on the same task is thereby known to be lost."""
        older = self._held.get(running.lease.task_id)
        self._held[running.lease.task_id] = running
        if running.deadline < self._due + self._interval / 2:
            # The answer to its claim was long on the way, or was lost at first.
            self._due = self._clock()
            self._news.set()
        if older is not None:
            self._lose(older, Interruption.LEASE_LOST)

    def remove(self, running: RunningTask) -> None:
        if self._held.get(running.lease.task_id) is running:
            del self._held[running.lease.task_id]

    def ask_about(self, task_id: str) -> None:
        """Somebody says that this task was cancelled: if it is held here, ask the queue at once."""
        if task_id in self._held:
            self._suspects.add(task_id)
            self._news.set()

    async def run(self) -> None:
        failures = 0
        while True:
            await self._sleep_until(self._due)
            # The event alone is only word of mouth; what the queue answers to a renewal is the truth.
            suspects, self._suspects = self._suspects, set()
            if self._clock() < self._due:
                await self._renew([one for id_ in suspects if (one := self._held.get(id_))])
                continue
            # Before the renewal, as one that is added meanwhile may be due earlier.
            self._due = self._clock() + spread(self._interval)
            # Interrupted tasks too: until their end is reported, nobody else should take them.
            failures = 0 if await self._renew(list(self._held.values())) else failures + 1
            self._interrupt_expired()
            if failures:
                self._due = min(self._due, self._clock() + self._backoff.delay(failures))

    async def _sleep_until(self, due: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(due - self._clock()):
                await self._news.wait()
        self._news.clear()

    async def _renew(self, held: Sequence[RunningTask]) -> bool:
        """Whether the queue answered."""
        if not held:
            return True
        asked = self._clock()
        try:
            async with asyncio.timeout(self._patience(held, now=asked)):
                renewed = await self._queue.renew(
                    [running.lease for running in held], lease_ms=round(self._lease_seconds * 1000)
                )
        except (QueueError, TimeoutError) as error:
            self._metrics.redis_errors.labels("renew").inc()
            log.warning("leases could not be renewed", leases=len(held), reason=str(error))
            return False
        for running in held:
            self._learn(running, renewed, until=asked + self._lease_seconds)
        return True

    def _learn(self, running: RunningTask, renewed: Renewed, *, until: float) -> None:
        task_id = running.lease.task_id
        if self._held.get(task_id) is not running:
            return  # reported while the renewal was under way, which takes the lease away as well
        if task_id in renewed.lost:
            self._lose(running, Interruption.LEASE_LOST)
            return
        running.deadline = until
        if task_id in renewed.cancelled:
            if running.job is not None and running.interruption is None:
                log.info("task was cancelled, its handler is stopped", task_id=task_id)
            running.interrupt(Interruption.CANCELLED)

    def _patience(self, held: Iterable[RunningTask], *, now: float) -> float:
        """Seconds to wait for an answer: not past the moment at which the first lease ends."""
        first = min(
            (running.deadline for running in held if running.interruption is None),
            default=now + self._interval,
        )
        return min(self._interval, max(first - now, self._interval / 8))

    def _interrupt_expired(self) -> None:
        now = self._clock()
        for running in list(self._held.values()):
            if running.deadline <= now:
                self._lose(running, Interruption.LEASE_EXPIRED)

    def _lose(self, running: RunningTask, why: Interruption) -> None:
        if running.job is None:
            return  # nothing to stop; whether its outcome comes too late is for the queue to say
        if running.interruption is None:
            self._metrics.lost_leases.inc()
            log.warning(
                "lease lost, the task is stopped", task_id=running.lease.task_id, why=why.name
            )
        # Again each time it is found still running: see RunningTask.interrupt.
        running.interrupt(why)
