"""Tells the operator, through Redis, that this worker lives and what it is doing."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from opsagent_queue import Heartbeat, QueueError, TaskQueue
from opsagent_worker.backoff import spread
from opsagent_worker.metrics import Metrics

log = structlog.get_logger()

_INTERVAL: Final = 5.0
_STATM: Final = Path("/proc/self/statm")


class HeartbeatSender:
    def __init__(
        self,
        queue: TaskQueue,
        *,
        pod_name: str,
        describe: Callable[[], Heartbeat],
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._pod_name = pod_name
        self._describe = describe
        self._metrics = metrics

    async def run(self) -> None:
        while True:
            await self.send()
            await asyncio.sleep(spread(_INTERVAL))

    async def send(self) -> None:
        try:
            await self._queue.heartbeat(self._pod_name, self._describe())
        except QueueError as error:
            self._metrics.redis_errors.labels("heartbeat").inc()
            log.debug("heartbeat not sent", reason=str(error))


class ProcessUsage:
    """What this process takes from its machine."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def cpu_percent(self) -> float:
        """CPU time since the last reading, as percent of one core."""
        wall, cpu = time.monotonic(), time.process_time()
        elapsed = wall - self._wall
        percent = 100 * (cpu - self._cpu) / elapsed if elapsed > 0 else 0.0
        self._wall, self._cpu = wall, cpu
        return round(percent, 1)

    @staticmethod
    def memory_bytes() -> int | None:
        """Resident memory; None where the system has no /proc."""
        try:
            resident_pages = int(_STATM.read_text(encoding="ascii").split()[1])
        except OSError:
            return None
        return resident_pages * os.sysconf("SC_PAGE_SIZE")
