"""The one claimer: asks for as many tasks as there is room for, and starts them."""

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from opsagent_queue import Claim, ClaimResult, Lease, QueueError, TaskQueue
from opsagent_worker.backoff import Backoff, spread
from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.leases import LeaseKeeper
from opsagent_worker.metrics import OTHER, Metrics
from opsagent_worker.probes import Health
from opsagent_worker.reporter import Reporter
from opsagent_worker.runner import Runner
from opsagent_worker.running import Interruption, RunningTask, Watcher

log = structlog.get_logger()

# A message announces most tasks; a delayed one that has just become due need not be met to the millisecond.
_SHORTEST_WAIT: Final = 0.02

# Leases this worker holds at most, for each slot: one whose task runs, and four whose outcome Redis is about to learn. That
# keeps short tasks flowing while reports travel, and bounds what a crash makes others do again.
_LEASES_PER_SLOT: Final = 5

# A batch that was over within one turn of the loop, and in no more than this, keeps no other task waiting that was claimed
# before it ran. In seconds.
_BRIEF: Final = 0.01

# More ids are of no use: a claim looks at about as many of the waiting tasks by itself.
_MOST_HINTS: Final = 64


@dataclass(frozen=True, slots=True)
class _Request:
    """One claim, however often it is sent: the queue answers a known token with the batch it already gave."""

    token: str
    count: int
    hints: tuple[str, ...]
    room: Mapping[str, int]
    first_sent: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one claim brought and was not started yet."""

    claims: Sequence[Claim] = ()
    deadline: float = 0.0
    """Monotonic second up to which their leases surely last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claiming:
    """How this worker claims. Durations in seconds."""

    owner: str
    version: str
    slots: int
    lease: float
    poll_interval: float


class Consumer:
    """Claims when woken, when a task has ended, when a delayed task is due, and every poll interval in any case.

    What is claimed is started at once, with one exception. If the tasks of a batch all ended before the loop had turned,
    the next claim is sent before the batch that it follows is started, so that Redis and this process work at the same
    time. Should those tasks not be as short as the ones before, what finds no free slot is handed back.
    """

    def __init__(
        self,
        queue: TaskQueue,
        claiming: Claiming,
        *,
        runner: Runner,
        reporter: Reporter,
        keeper: LeaseKeeper,
        metrics: Metrics,
        health: Health,
        fault: Callable[[Exception], object],
        watchers: Sequence[Watcher] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fault` is told of what went wrong in the worker itself, not in a handler."""
        self._queue = queue
        self._claiming = claiming
        self._runner = runner
        self._reporter = reporter
        self._keeper = keeper
        self._metrics = metrics
        self._health = health
        self._fault = fault
        self._watchers = tuple(watchers)
        self._clock = clock
        self._backoff = Backoff(base=0.2, ceiling=claiming.poll_interval)
        self._handlers = runner.handlers
        self._limits = {
            task_type: handler.concurrency
            for task_type, handler in runner.handlers.items()
            if handler.concurrency is not None
        }
        self._running: dict[asyncio.Task[None], RunningTask] = {}
        self._running_of_type: Counter[str] = Counter()
        self._hints: deque[str] = deque(maxlen=_MOST_HINTS)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._marked = False
        self._no_room = False
        self._batch = _Batch()
        self._brief = False
        metrics.slots.set(claiming.slots)
        metrics.in_flight.set_function(lambda: float(len(self._running)))
        reporter.when_settled(self._settled)

    @property
    def busy(self) -> int:
        """Tasks that run, or whose end is still to be reported."""
        return len(self._running) + self._reporter.unreported

    @property
    def marked(self) -> bool:
        """Whether this pod has a drain mark: the last claim was refused for it."""
        return self._marked

    def running_by_type(self) -> dict[str, int]:
        """Tasks whose handler runs, by type (`other` for one without a handler)."""
        return {label: count for label, count in self._running_of_type.items() if count}

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def announce(self, task_id: str) -> None:
        """This task was just created: the next claim looks at it first."""
        self._hints.append(task_id)
        # A marked pod gets no task, however many are created.
        if not self._marked:
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
            if not self._brief:
                await self._start()
            request = request or self._request()
            self._no_room = request is None
            if request is None:
                await self._start()
                await self._sleep(self._claiming.poll_interval)
                continue
            try:
                result = await self._claim_and_start(request)
            except QueueError as error:
                failures += 1
                self._unreachable(error, failures=failures)
                await self._sleep(self._backoff.delay(failures))
                continue
            if failures:
                log.info("the queue answers again", failures=failures)
            failures = 0
            self._metrics.queue_up.set(1)
            self._health.ready = True
            self._batch = _Batch(result.claims, request.first_sent + self._claiming.lease)
            self._note_mark(marked=result.draining)
            if self._marked or (len(result.claims) < request.count and not result.more):
                request = None
                await self._start()
                await self._sleep(self._until_next_look(result))
            request = None
        await self._start()

    async def idle(self) -> None:
        """Returns once nothing runs any more and every outcome is reported."""
        await self._idle.wait()

    def interrupt_all(self) -> None:
        """Cancels what runs and hands it back."""
        for running in list(self._running.values()):
            running.interrupt(Interruption.DRAINED)

    async def abandon(self) -> None:
        """Hands back what did not end when interrupted, as far as Redis takes it, and ends it in any case.

        Does not return while a handler ignores its cancellation.
        """
        abandoned = dict(self._running)
        for running in abandoned.values():
            running.abandon()
        await self._hand_back([running.lease for running in abandoned.values()])
        await cancel_until_done(abandoned)

    def _request(self) -> _Request | None:
        """What to claim now; None if there is no room."""
        slots = self._claiming.slots
        held = len(self._batch.claims) + self.busy
        room = min(slots - len(self._running), _LEASES_PER_SLOT * slots - held)
        if room <= 0:
            return None
        hints = tuple(self._hints)
        self._hints.clear()
        return _Request(uuid.uuid4().hex, room, hints, self._room(), self._clock())

    def _room(self) -> dict[str, int]:
        """How many more tasks may run of each type that has a limit of its own."""
        return {
            task_type: max(0, limit - self._running_of_type[task_type])
            for task_type, limit in self._limits.items()
        }

    async def _claim_and_start(self, request: _Request) -> ClaimResult:
        """Claims and, meanwhile, starts what the claim before brought if that still waits."""
        if not self._batch.claims:
            return await self._claim(request)
        claim = asyncio.create_task(self._claim(request))
        try:
            # uvloop writes to sockets at the end of a turn: one for the claim to leave, the next for the batch to run.
            await asyncio.sleep(0)
            await self._start()
            return await claim
        finally:
            claim.cancel()

    async def _claim(self, request: _Request) -> ClaimResult:
        return await self._queue.claim(
            owner=self._claiming.owner,
            version=self._claiming.version,
            count=request.count,
            lease_ms=round(self._claiming.lease * 1000),
            token=request.token,
            hints=request.hints,
            room=request.room,
        )

    async def _start(self) -> None:
        batch, self._batch, self._brief = self._batch, _Batch(), False
        if not batch.claims:
            return
        if self._stopping or self._marked or self._clock() >= batch.deadline:
            # Too late to start them: the worker is to stop, or Redis was away for longer than their leases last.
            await self._hand_back([claim.lease for claim in batch.claims])
            return
        self._idle.clear()
        free = self._claiming.slots - len(self._running)
        jobs = [self._run(claim, batch.deadline) for claim in batch.claims[:free]]
        if not self._limits:
            asyncio.get_running_loop().call_soon(self._judge, jobs, self._clock())
        await self._hand_back([claim.lease for claim in batch.claims[free:]])

    def _judge(self, jobs: "Sequence[asyncio.Task[None]]", began: float) -> None:
        """Called when each of `jobs` has had its first turn."""
        self._brief = self._clock() - began < _BRIEF and all(job.done() for job in jobs)

    def _run(self, claim: Claim, deadline: float) -> "asyncio.Task[None]":
        task = claim.task
        handler = self._handlers.get(task.type)
        running = RunningTask(claim, deadline, handler, OTHER if handler is None else task.type)
        self._running_of_type[running.label] += 1
        self._keeper.add(running)
        for watcher in self._watchers:
            watcher.add(running)
        job = running.job = asyncio.create_task(self._runner.run(running), name=task.task_id)
        self._running[job] = running
        job.add_done_callback(self._ended)
        return job

    def _ended(self, job: "asyncio.Task[None]") -> None:
        running = self._running.pop(job)
        running.job = None
        self._running_of_type[running.label] -= 1
        for watcher in self._watchers:
            watcher.remove(running)
        if job.cancelled() or job.exception() is not None:
            # Nothing was reported, so the lease is no longer renewed: the task comes back when it expires.
            self._keeper.remove(running)
        if not job.cancelled() and (error := job.exception()) is not None:
            # The runner turns whatever a handler does into an outcome, so this is a fault of ours.
            log.error("task not reported", task_id=running.lease.task_id, exc_info=error)
            if isinstance(error, Exception):
                self._fault(error)
        self._wake.set()
        self._settled()

    def _settled(self) -> None:
        if self._no_room:
            self._wake.set()
        if not self.busy:
            self._idle.set()

    async def _hand_back(self, leases: Sequence[Lease]) -> None:
        if not leases:
            return
        try:
            released = await self._queue.release(leases)
        except QueueError as error:
            self._metrics.redis_errors.labels("release").inc()
            log.warning("tasks not handed back, their leases will expire", reason=str(error))
        else:
            self._metrics.released.inc(released)
            log.info("tasks handed back", tasks=released)

    def _note_mark(self, *, marked: bool) -> None:
        if marked == self._marked:
            return
        self._marked = marked
        self._metrics.draining.set(int(marked or self._stopping))
        if marked:
            log.info(
                "marked to go: no task is claimed until the mark is removed", running=self.busy
            )
        else:
            log.info("the mark to go is gone: tasks are claimed again")

    def _unreachable(self, error: QueueError, *, failures: int) -> None:
        self._metrics.redis_errors.labels("claim").inc()
        self._metrics.queue_up.set(0)
        log.warning("the queue does not answer", reason=str(error), failures=failures)

    def _until_next_look(self, result: ClaimResult) -> float:
        seconds = spread(self._claiming.poll_interval)
        if result.next_due_ms is None or result.paused or result.draining:
            return seconds
        return min(seconds, max(result.next_due_ms / 1000, _SHORTEST_WAIT))

    async def _sleep(self, seconds: float) -> None:
        """Until woken, at most `seconds`."""
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
