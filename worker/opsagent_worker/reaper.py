"""Brings back what other workers left behind: every worker does it, and none has to be the one that does."""

import asyncio
from typing import Final

import structlog

from opsagent_queue import QueueError, TaskQueue
from opsagent_worker.backoff import spread
from opsagent_worker.metrics import Metrics

log = structlog.get_logger()

_LIMIT: Final = 100
_LONGEST_INTERVAL: Final = 5.0


async def reap_forever(
    queue: TaskQueue, *, lease_seconds: float, result_ttl_ms: int, metrics: Metrics
) -> None:
    """Reaps every third of a lease, at least every 5 s. The queue itself wakes whoever can claim what came back."""
    interval = min(lease_seconds / 3, _LONGEST_INTERVAL)
    while True:
        await asyncio.sleep(spread(interval))
        try:
            while await _reap(queue, result_ttl_ms=result_ttl_ms, metrics=metrics):
                pass
        except QueueError as error:
            metrics.redis_errors.labels("reap").inc()
            log.debug("could not reap", reason=str(error))


async def _reap(queue: TaskQueue, *, result_ttl_ms: int, metrics: Metrics) -> bool:
    """Whether there may be more to reap."""
    reaped = await queue.reap(limit=_LIMIT, result_ttl_ms=result_ttl_ms)
    metrics.rescued.inc(reaped.requeued)
    metrics.poisoned.inc(reaped.dead)
    if reaped.requeued or reaped.dead:
        log.warning("expired leases reaped", requeued=reaped.requeued, dead=reaped.dead)
    return max(reaped.requeued + reaped.dead, reaped.promoted) >= _LIMIT
