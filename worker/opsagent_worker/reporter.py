"""Tells the queue how a task ended, for as long as it takes."""

import asyncio
from dataclasses import dataclass
from typing import assert_never

import structlog

from opsagent_queue import Finished, Lease, QueueError, Retried, TaskQueue
from opsagent_worker.backoff import Backoff
from opsagent_worker.metrics import Metrics
from opsagent_worker.outcome import Completed, Failed, HandBack, LeaseLost, Outcome, Retry

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Reports until the queue answers.

    A report that Redis cannot take waits in its task's slot: at most `concurrency` of them wait, and no new task is taken
    for their slots. Their leases are renewed as soon as Redis is back.
    """

    queue: TaskQueue
    metrics: Metrics
    version: str
    result_ttl_ms: int
    backoff: Backoff = Backoff(base=0.2, ceiling=5.0)  # noqa: RUF009 - frozen, so safe to share

    async def report(self, lease: Lease, outcome: Outcome, *, seconds: float) -> bool:
        """Whether the queue took it; False if the lease was lost. `seconds` is how long the attempt ran.

        Returns only when the queue has answered. Sending again is safe: the queue knows a report it has taken.
        """
        failures = 0
        while True:
            try:
                taken = await self._send(lease, outcome, seconds=seconds)
            except QueueError as error:
                failures += 1
                self.metrics.redis_errors.labels("report").inc()
                log.warning("outcome not reported yet", reason=str(error), failures=failures)
                await asyncio.sleep(self.backoff.delay(failures))
                continue
            if not taken and not isinstance(outcome, HandBack):
                self.metrics.late_reports.inc()
                log.warning(
                    "outcome came too late: the lease was lost", outcome=type(outcome).__name__
                )
            return taken

    async def _send(self, lease: Lease, outcome: Outcome, *, seconds: float) -> bool:
        match outcome:
            case Completed(result):
                return await self._finish(
                    Finished(lease=lease, status="completed", result=result, seconds=seconds)
                )
            case Failed(error, error_class):
                return await self._finish(
                    Finished(
                        lease=lease,
                        status="failed",
                        error=error,
                        error_class=error_class,
                        seconds=seconds,
                    )
                )
            case Retry(error, _, delay):
                retried = Retried(
                    lease=lease, delay_ms=round(delay * 1000), error=error, seconds=seconds
                )
                return all(await self.queue.retry([retried], version=self.version))
            case HandBack():
                return await self.queue.release([lease]) == 1
            case LeaseLost():
                return False
            case _:
                assert_never(outcome)

    async def _finish(self, finished: Finished) -> bool:
        return all(
            await self.queue.finish(
                [finished], version=self.version, result_ttl_ms=self.result_ttl_ms
            )
        )
