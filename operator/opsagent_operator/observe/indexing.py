"""Has the index of queues completed that nobody works on.

What the index knows, a snapshot need not look at; claims complete it in passing, but a queue whose
workers are at zero has no claims.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from opsagent_operator.observe.audience import Wake
from opsagent_operator.observe.cluster import Key
from opsagent_queue import QueueError, TaskQueue

__all__ = ["Indexer"]


STEP: Final = 256
"""Tasks that one step sorts in."""
SPARE_STEPS: Final = 16


@dataclass(slots=True)
class _Job:
    queue: TaskQueue
    steps: int
    """How many it may take at most: as many again may come meanwhile, and some can never be known."""
    tell: bool


class Indexer:
    """Works through the queues of one Redis in turn, one small step at a time, beside all visits.

    Must be closed.
    """

    def __init__(self, *, wake: Wake) -> None:
        self._wake = wake
        self._jobs: dict[Key, _Job] = {}
        self._task: asyncio.Task[None] | None = None

    def complete(self, key: Key, queue: TaskQueue, *, unknown: int, tell: bool) -> None:
        """Have the `unknown` waiting tasks of `queue` indexed.

        With `tell` the object is woken when all are known: what it was told before was a guess.
        """
        if key not in self._jobs:
            self._jobs[key] = _Job(queue, SPARE_STEPS + 2 * unknown // STEP, tell)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Leave the rest as it is."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1.0)

    async def _work(self) -> None:
        while self._jobs:
            for key, job in tuple(self._jobs.items()):
                try:
                    left = await job.queue.index()
                except (QueueError, TimeoutError):
                    del self._jobs[key]  # the visits tell what is wrong, and try again
                    continue
                job.steps -= 1
                if left == 0 or job.steps == 0:
                    del self._jobs[key]
                if left == 0 and job.tell:
                    self._wake(key, None)
