"""Takes keys from the queue, a few at a time, and has them reconciled."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from opsagent_operator.kube.errors import KubeError
from opsagent_operator.observe.cluster import Key
from opsagent_operator.runtime.metrics import Metrics
from opsagent_operator.runtime.reconciler import GateError
from opsagent_operator.runtime.workqueue import WorkQueue

__all__ = ["Controller"]

JITTER: Final = 0.1
"""Share by which the next visit may come early, so that visits do not come in waves. It is never late: a
worker may have to be started just then for a delayed task."""

AT_ONCE: Final = 0.05
"""Seconds: a pause below it is none."""
EAGER: Final = 20
EAGER_PAUSE: Final = 1.0
"""An object that wants to be visited again at once so many times in a row has to wait so many
seconds each time from then on: whatever is wrong with it, the others must go on."""

_EXPECTED: Final = (KubeError, GateError, TimeoutError)
"""Errors that say all there is to say; of others the traceback is logged, too."""

log = structlog.get_logger(__name__)


class Controller:
    """`workers` tasks that call `reconcile` for the keys of `queue`."""

    def __init__(
        self,
        *,
        queue: WorkQueue[Key],
        reconcile: Callable[[Key], Awaitable[timedelta | None]],
        workers: int,
        timeout: float,
        rng: random.Random,
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._timeout = timeout
        self._rng = rng
        self._metrics = metrics
        self._workers = workers
        self._eager: dict[Key, int] = {}
        """How many times in a row an object has asked to be visited again at once."""
        metrics.workers.set(workers)

    async def run(self) -> None:
        """Work until the queue is shut down and empty."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"reconciler {number}")

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                with self._metrics.active_workers.track_inprogress(), self._metrics.seconds.time():
                    await self._visit(key)
            finally:
                self._queue.done(key)

    async def _visit(self, key: Key) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                pause = await self._reconcile(key)
        except Exception as error:  # whatever it is, the others must go on
            self._metrics.results["error"].inc()
            self._metrics.errors.inc()
            delay = self._queue.retry(key)
            log.exception(
                "reconciliation failed",
                object=str(key),
                retry_in_seconds=round(delay, 1),
                error=str(error) or type(error).__name__,
                exc_info=not isinstance(error, _EXPECTED),
            )
            return
        self._queue.forget(key)
        if pause is None:
            self._eager.pop(key, None)
            self._queue.discard_delay(key)
            self._metrics.results["success"].inc()
            return
        spread = self._rng.uniform(1 - JITTER, 1)
        self._queue.add_after(key, self._bounded(key, pause.total_seconds()) * spread)
        self._metrics.results["requeue_after"].inc()

    def _bounded(self, key: Key, seconds: float) -> float:
        """`seconds`, unless that is at once, time and again."""
        if seconds >= AT_ONCE:
            self._eager.pop(key, None)
            return seconds
        self._eager[key] = self._eager.get(key, 0) + 1
        return seconds if self._eager[key] <= EAGER else EAGER_PAUSE
