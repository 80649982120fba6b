"""The one claimer: asks for as many tasks as there are free slots, and starts them."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from opsagent_queue import Claim, ClaimResult, Lease, QueueError, TaskQueue
from opsagent_worker.backoff import Backoff, spread
from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.leases import LeaseKeeper
from opsagent_worker.metrics import Metrics
from opsagent_worker.probes import Health
from opsagent_worker.runner import Runner
from opsagent_worker.running import Interruption, RunningTask

log = structlog.get_logger()

# A message announces most tasks; a delayed one that has just become due need not be met to the millisecond.
_SHORTEST_WAIT: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Request:
    """One claim, however often it is sent: the queue answers a known token with the batch it already gave."""

    token: str
    first_sent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claiming:
    """How this worker claims. Durations in seconds."""

    owner: str
    version: str
    slots: int
    lease: float
    poll_interval: float


class Consumer:
    """Claims when woken, when a task has ended, when a delayed task is due, and every poll interval in any case."""

    def __init__(
        self,
        queue: TaskQueue,
        claiming: Claiming,
        *,
        runner: Runner,
        keeper: LeaseKeeper,
        metrics: Metrics,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._claiming = claiming
        self._runner = runner
        self._keeper = keeper
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._backoff = Backoff(base=0.2, ceiling=claiming.poll_interval)
        self._running: dict[RunningTask, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        metrics.slots.set(claiming.slots)
        metrics.in_flight.set_function(lambda: float(len(self._running)))

    @property
    def busy(self) -> int:
        """Tasks that run, or whose end is still to be reported."""
        return len(self._running)

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def stop(self) -> None:
        """Claim no more. What runs goes on; `run` returns once a claim under way has been dealt with."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        request: _Request | None = None
        failures = 0
        while not self._stopping:
            self._health.claim_loop_turned()
            # Cleared before the claim, so that what happens during it is looked at after it.
            self._wake.clear()
            free = self._claiming.slots - len(self._running)
            if free == 0:
                await self._sleep(self._claiming.poll_interval)
                continue
            request = request or _Request(uuid.uuid4().hex, self._clock())
            try:
                result = await self._claim(request, count=free)
            except QueueError as error:
                failures += 1
                self._unreachable(error, failures=failures)
                await self._sleep(self._backoff.delay(failures))
                continue
            if failures:
                log.info("the queue answers again", failures=failures)
            deadline = request.first_sent + self._claiming.lease
            request, failures = None, 0
            self._metrics.queue_up.set(1)
            self._health.ready = True
            await self._start(result.claims, deadline=deadline)
            if len(result.claims) < free:
                await self._sleep(self._until_next_look(result))

    async def idle(self) -> None:
        """Returns once nothing runs any more."""
        await self._idle.wait()

    def interrupt_all(self) -> None:
        """Cancels what runs and hands it back."""
        for running in list(self._running):
            running.interrupt(Interruption.DRAINED)

    async def abandon(self) -> None:
        """Hands back what did not end when interrupted, as far as Redis takes it, and ends it in any case.

        Does not return while a handler ignores its cancellation.
        """
        abandoned = dict(self._running)
        for job in abandoned.values():
            job.cancel()
        await self._hand_back([running.lease for running in abandoned])
        await cancel_until_done(abandoned.values())

    async def _claim(self, request: _Request, *, count: int) -> ClaimResult:
        return await self._queue.claim(
            owner=self._claiming.owner,
            version=self._claiming.version,
            count=count,
            lease_ms=round(self._claiming.lease * 1000),
            token=request.token,
        )

    async def _start(self, claims: Sequence[Claim], *, deadline: float) -> None:
        if not claims:
            return
        if self._stopping or self._clock() >= deadline:
            # Too late to start them: the worker stops, or Redis was away for longer than their leases last.
            await self._hand_back([claim.lease for claim in claims])
            return
        self._idle.clear()
        for claim in claims:
            running = RunningTask(claim, deadline)
            self._keeper.add(running)
            job = asyncio.create_task(self._runner.run(running), name=claim.task.task_id)
            self._running[running] = job
            job.add_done_callback(partial(self._ended, running))

    def _ended(self, running: RunningTask, job: "asyncio.Task[None]") -> None:
        del self._running[running]
        self._keeper.remove(running)
        if not self._running:
            self._idle.set()
        self._wake.set()
        if not job.cancelled() and (error := job.exception()) is not None:
            # The runner turns whatever a handler does into an outcome, so this is a fault of ours. The lease is no longer
            # renewed: the task comes back when it expires.
            log.error("task not reported", task_id=running.lease.task_id, exc_info=error)

    async def _hand_back(self, leases: Sequence[Lease]) -> None:
        try:
            released = await self._queue.release(leases)
        except QueueError as error:
            self._metrics.redis_errors.labels("release").inc()
            log.warning("tasks not handed back, their leases will expire", reason=str(error))
        else:
            self._metrics.released.inc(released)
            log.info("tasks handed back", tasks=released)

    def _unreachable(self, error: QueueError, *, failures: int) -> None:
        self._metrics.redis_errors.labels("claim").inc()
        self._metrics.queue_up.set(0)
        log.warning("the queue does not answer", reason=str(error), failures=failures)

    def _until_next_look(self, result: ClaimResult) -> float:
        seconds = spread(self._claiming.poll_interval)
        if result.next_due_ms is None or result.paused:
            return seconds
        return min(seconds, max(result.next_due_ms / 1000, _SHORTEST_WAIT))

    async def _sleep(self, seconds: float) -> None:
        """Until woken, at most `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
