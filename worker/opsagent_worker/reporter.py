"""Tells the queue what happens to tasks: many at a time, in order, for as long as it takes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar, assert_never

import msgspec
import structlog

from opsagent_queue import (
    Event,
    Finished,
    Lease,
    QueueError,
    QueueUnavailableError,
    Retried,
    TaskQueue,
)
from opsagent_worker.backoff import Backoff
from opsagent_worker.leases import LeaseKeeper
from opsagent_worker.metrics import Metrics
from opsagent_worker.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandBack,
    LeaseLost,
    Outcome,
    Retry,
)
from opsagent_worker.running import RunningTask

log = structlog.get_logger()

T = TypeVar("T")

# Pub/sub keeps nothing for who is away, so neither is it worth keeping much for a Redis that is.
_MOST_EVENTS: Final = 1000


class Report(msgspec.Struct, frozen=True):
    """How an attempt ended and how long it ran."""

    running: RunningTask
    outcome: Outcome
    seconds: float


Reported = Callable[[Report, bool], None]
"""Told of each report that the queue has answered: whether it was taken, or the lease was lost."""


class Reporter:
    """One for the whole process.

    What gathers while Redis takes one batch is the next batch (a group commit): a lone task waits for nobody, and thousands
    a second share their round trips.

    Events go before the outcomes that were reported with them, so the start of a task is never told after its end. A batch
    that Redis does not take is sent again, which is safe: the queue knows a report it has taken. Meanwhile the tasks'
    leases are kept. How much can gather is bounded by the consumer, which claims nothing while too much is unreported.
    """

    def __init__(
        self,
        queue: TaskQueue,
        *,
        version: str,
        result_ttl_ms: int,
        keeper: LeaseKeeper,
        metrics: Metrics,
        reported: Reported,
        backoff: Backoff | None = None,
    ) -> None:
        self._queue = queue
        self._version = version
        self._result_ttl_ms = result_ttl_ms
        self._keeper = keeper
        self._metrics = metrics
        self._reported = reported
        self._backoff = backoff or Backoff(base=0.2, ceiling=5.0)
        self._events: list[Event] = []
        self._ended = _Lane(self._finish, self._settle)
        self._retried = _Lane(self._retry, self._settle)
        self._handed_back = _Lane(self._release, self._settle)
        self._unreported = 0
        self._dropping = False
        self._news = asyncio.Event()
        self._settled: Callable[[], None] = lambda: None
        metrics.unreported.set_function(lambda: float(self._unreported))

    @property
    def unreported(self) -> int:
        """Tasks whose end the queue does not know yet."""
        return self._unreported

    def when_settled(self, call: Callable[[], None]) -> None:
        """`call` after each batch that was taken."""
        self._settled = call

    def post(self, event: Event) -> None:
        """Publishes `event` soon. While Redis is away the first 1,000 are kept; more are dropped and counted."""
        if len(self._events) >= _MOST_EVENTS:
            self._drop([event], reason="too many wait for Redis")
            return
        self._events.append(event)
        self._news.set()

    def report(self, running: RunningTask, outcome: Outcome, *, seconds: float) -> None:
        """Reports the end of an attempt soon; until then its lease is kept."""
        report, claim, lease = Report(running, outcome, seconds), running.claim, running.lease
        self._unreported += 1
        match outcome:
            case Completed(result):
                self._ended.add(
                    report,
                    Finished(
                        lease=lease,
                        status="completed",
                        result=result,
                        seconds=seconds,
                        data=claim.data,
                    ),
                )
            case Failed(error, error_class):
                self._ended.add(
                    report,
                    Finished(
                        lease=lease,
                        status="failed",
                        error=error,
                        error_class=error_class,
                        seconds=seconds,
                        data=claim.data,
                    ),
                )
            case Cancelled():
                self._ended.add(
                    report,
                    Finished(lease=lease, status="cancelled", seconds=seconds, data=claim.data),
                )
            case Retry(error, _, delay, error_class, counted):
                self._retried.add(
                    report,
                    Retried(
                        lease=lease,
                        delay_ms=round(delay * 1000),
                        error=error,
                        error_class=error_class,
                        seconds=seconds,
                        counted=counted,
                    ),
                )
            case HandBack():
                self._handed_back.add(report, lease)
            case LeaseLost():
                # There is nobody to report to: the queue has already given the task away.
                self._settle([report], [False])
                return
            case _:
                assert_never(outcome)
        self._news.set()

    async def run(self) -> None:
        """Reports until cancelled. Nothing that can go wrong ends it, as every task's end depends on it."""
        failures = 0
        while True:
            if not (self._events or self._unreported):
                await self._news.wait()
            self._news.clear()
            try:
                await self._send()
            except Exception as error:  # noqa: BLE001 - also one of ours must not end it
                failures += 1
                self._failed(error, failures=failures)
                unavailable = isinstance(error, QueueUnavailableError)
                await self._pause(self._backoff.delay(failures), interruptible=not unavailable)
            else:
                failures = 0

    async def _send(self) -> None:
        """Sends what has gathered. What is not sent when this raises is still kept."""
        # Taken before anything is awaited: events and outcomes of one task that come meanwhile go together, next time.
        events = self._events[:]
        ended, retried = self._ended.gathered(), self._retried.gathered()
        handed_back = self._handed_back.gathered()
        if events:
            await self._publish(events)
            del self._events[: len(events)]
        refusal = await self._ended.send(ended)
        refusal = await self._retried.send(retried) or refusal
        refusal = await self._handed_back.send(handed_back) or refusal
        if refusal is not None:
            raise refusal

    async def _publish(self, events: Sequence[Event]) -> None:
        try:
            await self._queue.publish(events)
            self._dropping = False
        except QueueUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - see `run`
            # Nobody may publish here, say. The tasks' ends matter more than who hears of them.
            self._metrics.redis_errors.labels("publish").inc()
            self._drop(events, reason=str(error))

    async def _finish(self, finished: Sequence[Finished]) -> Sequence[bool]:
        return await self._queue.finish(
            finished, version=self._version, result_ttl_ms=self._result_ttl_ms
        )

    async def _retry(self, retried: Sequence[Retried]) -> Sequence[bool]:
        return await self._queue.retry(retried, version=self._version)

    async def _release(self, leases: Sequence[Lease]) -> Sequence[bool]:
        # How many were still held is told, not which; nothing follows from it for one that was not.
        await self._queue.release(leases)
        return [True] * len(leases)

    def _settle(self, reports: Sequence[Report], taken: Sequence[bool]) -> None:
        self._unreported -= len(reports)
        for report in reports:
            self._keeper.remove(report.running)
        self._settled()
        # Last: should a listener fail, nothing but its own account is incomplete.
        for report, done in zip(reports, taken, strict=True):
            self._reported(report, done)

    def _drop(self, events: Iterable[Event], *, reason: str) -> None:
        for event in events:
            self._metrics.dropped_events.labels(event.event_type).inc()
        if not self._dropping:
            self._dropping = True
            log.warning("events are dropped", reason=reason)

    def _failed(self, error: Exception, *, failures: int) -> None:
        self._metrics.redis_errors.labels("report").inc()
        if failures == 1 and not isinstance(error, QueueError):
            log.error("a fault while outcomes were reported", exc_info=error)
        if self._unreported:
            log.warning(
                "outcomes not reported yet",
                reason=str(error),
                failures=failures,
                unreported=self._unreported,
            )

    async def _pause(self, seconds: float, *, interruptible: bool) -> None:
        """Until `seconds` are over or, if nothing but single reports is refused, there is something new."""
        if not interruptible:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()


class _Lane(Generic[T]):
    """Reports that go by the same call, in order."""

    def __init__(
        self,
        call: Callable[[Sequence[T]], Awaitable[Sequence[bool]]],
        settle: Callable[[Sequence[Report], Sequence[bool]], None],
    ) -> None:
        self._call = call
        self._settle = settle
        self._waiting: list[tuple[Report, T]] = []

    def add(self, report: Report, message: T) -> None:
        self._waiting.append((report, message))

    def gathered(self) -> list[tuple[Report, T]]:
        return self._waiting[:]

    async def send(self, batch: list[tuple[Report, T]]) -> Exception | None:
        """Sends some of those that wait, and tells why one was not taken, which goes on waiting.

        Raises `QueueUnavailableError`; what was not taken waits.
        """
        if not batch:
            return None
        try:
            await self._take(batch)
        except QueueUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - see `Reporter.run`
            # One that Redis refuses (a record of the wrong type, say) must not hold up all others.
            return error if len(batch) == 1 else await self._one_by_one(batch)
        return None

    async def _one_by_one(self, batch: list[tuple[Report, T]]) -> Exception | None:
        refusal = None
        for one in batch:
            refusal = await self.send([one]) or refusal
        return refusal

    async def _take(self, batch: list[tuple[Report, T]]) -> None:
        taken = await self._call([message for _, message in batch])
        answered = {id(report) for report, _ in batch}
        self._waiting = [one for one in self._waiting if id(one[0]) not in answered]
        self._settle([report for report, _ in batch], taken)
