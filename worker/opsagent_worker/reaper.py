"""Brings back what other workers left behind: every worker does it, and none has to be the one that does."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from opsagent_queue import QueueError, Reaped, TaskQueue
from opsagent_worker.backoff import RANDOM, spread
from opsagent_worker.metrics import Metrics

log = structlog.get_logger()

_LIMIT: Final = 100
_LONGEST_INTERVAL: Final = 5.0

# How soon after a lease has expired its task is looked for: workers take turns, and none does it in vain for a clock's tick.
_SOONEST: Final = 0.02
_LATEST: Final = 0.2


async def reap_forever(
    queue: TaskQueue,
    *,
    lease_seconds: float,
    result_ttl_ms: int,
    metrics: Metrics,
    poisoned: Callable[[int], object],
) -> None:
    """Reaps at once, every third of a lease, at least every 5 s, and right after the next lease should expire.

    The queue itself wakes whoever can claim what came back.

    `poisoned` is told how many tasks were given up, each time some were.
    """
    interval = min(lease_seconds / 3, _LONGEST_INTERVAL)
    pause = RANDOM.uniform(_SOONEST, _LATEST)
    while True:
        await asyncio.sleep(pause)
        pause = spread(interval)
        try:
            more = True
            while more:
                reaped = await queue.reap(limit=_LIMIT, result_ttl_ms=result_ttl_ms)
                _note(reaped, metrics)
                if reaped.dead:
                    poisoned(reaped.dead)
                more = max(reaped.requeued + reaped.dead, reaped.promoted) >= _LIMIT
            if reaped.next_expiry_ms is not None:
                soon = reaped.next_expiry_ms / 1000 + RANDOM.uniform(_SOONEST, _LATEST)
                pause = min(pause, soon)
        except QueueError as error:
            metrics.redis_errors.labels("reap").inc()
            log.debug("could not reap", reason=str(error))


def _note(reaped: Reaped, metrics: Metrics) -> None:
    metrics.rescued.inc(reaped.requeued)
    metrics.poisoned.inc(reaped.dead)
    if reaped.requeued or reaped.dead:
        log.warning("expired leases reaped", requeued=reaped.requeued, dead=reaped.dead)
