"""Has the index of queues completed that nobody works on.

What the index knows, a snapshot need not look at; claims complete it in passing, but a queue whose
workers are at zero has no claims.
"""

import asyncio
from dataclasses import dataclass

from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.listener import Wake
from opsagent_queue import QueueError, TaskQueue

__all__ = ["Indexer"]


@dataclass(slots=True)
class _Job:
    queue: TaskQueue
    unknown: int
    """Tasks that the index did not know when last asked."""
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
        """Have the `unknown` waiting tasks of `queue` indexed, as far as that gets anywhere.

        With `tell` the object is woken when all are known: what it was told before was a guess.
        """
        if key not in self._jobs:
            self._jobs[key] = _Job(queue, unknown, tell)
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
                    left = job.unknown  # the visits tell what is wrong
                # Where more come than are sorted in, the next visit tries again.
                ended = left == 0 or left >= job.unknown
                job.unknown = left
                if ended:
                    del self._jobs[key]
                if job.tell and left == 0:
                    self._wake(key, None)
