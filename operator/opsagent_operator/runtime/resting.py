"""Objects at rest: most of them, most of the time. What they cost is what an operator costs.

Nothing but a change can make another decision about them, and changes are told: by the watches, and by
messages from Redis. As a message can be lost, their queues are looked at all the same, from time to time:
those of all objects that are due in the same second together, so that they share round trips. As long as the
cluster and the queue are what they were, nothing is decoded and nothing is decided.
"""

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from opsagent_operator.model.observed import QueueState, Unreachable, Worker
from opsagent_operator.observe.cluster import ClusterCache, Key
from opsagent_operator.observe.queue import Queues

__all__ = ["Rest", "Resting"]

TICK: Final = 1.0
"""Seconds between two rounds of looking."""
JITTER: Final = 0.1
"""Share by which the time until the next look varies, so that looks do not come in waves."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What the last decision about an object was made from."""

    worker: Worker
    """Without its status."""
    start_time: timedelta
    versions: Collection[str]
    """Both as its queue was asked with."""
    version: int
    """Of the object and its children, in the cache."""
    queue: QueueState | Unreachable
    pause: timedelta
    """Between two looks at the queue."""


class Resting:
    """Looks after objects that were laid to rest, and has them visited (`wake`) when something changed.

    `looked` is told each object whose queue was read and is as it was.
    """

    def __init__(
        self,
        *,
        cache: ClusterCache,
        queues: Queues,
        wake: Callable[[Key], None],
        looked: Callable[[Key], None],
        rng: random.Random,
    ) -> None:
        self._cache = cache
        self._queues = queues
        self._wake = wake
        self._looked = looked
        self._rng = rng
        self._rests: dict[Key, Rest] = {}
        self._due: dict[int, list[tuple[Key, Rest]]] = {}
        """By the tick in which they are looked at. Who rests no more is left out then."""

    def __len__(self) -> int:
        return len(self._rests)

    def __contains__(self, key: Key) -> bool:
        return key in self._rests

    def lay(self, key: Key, rest: Rest) -> None:
        """Look after `key` from now on."""
        self._rests[key] = rest
        pause = rest.pause.total_seconds() * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._due.setdefault(_tick() + max(1, round(pause / TICK)), []).append((key, rest))

    def rouse(self, key: Key) -> None:
        """Leave `key` alone: it is visited, or gone."""
        self._rests.pop(key, None)

    async def undisturbed(self, key: Key) -> bool:
        """Whether `key` is at rest, and everything is as it was: its queue is read for that."""
        rest = self._rests.get(key)
        return rest is not None and await self._is_as_it_was(key, rest)

    async def run(self) -> None:
        """Look after them for ever; one whose Redis is slow keeps no other waiting."""
        done = _tick()
        async with asyncio.TaskGroup() as looks:
            while True:
                await asyncio.sleep(TICK - asyncio.get_running_loop().time() % TICK)
                now = _tick()
                due = [one for tick in range(done + 1, now + 1) for one in self._due.pop(tick, ())]
                done = now
                for key, rest in due:
                    looks.create_task(self._look(key, rest))

    async def _look(self, key: Key, rest: Rest) -> None:
        if self._rests.get(key) is not rest:
            return
        try:
            calm = await self._is_as_it_was(key, rest)
        except Exception:  # noqa: BLE001 - a visit fails likewise, and says so
            calm = False
        if calm and self._rests.get(key) is rest:
            self.lay(key, rest)
            return
        # Also if it was visited meanwhile, or has gone: by this look its queue is followed as it was before.
        self.rouse(key)
        self._wake(key)

    async def _is_as_it_was(self, key: Key, rest: Rest) -> bool:
        if rest.version != self._cache.version(key):
            return False
        queue = await self._queues.observe(
            rest.worker, start_time=rest.start_time, versions=rest.versions
        )
        calm = queue == rest.queue and rest.version == self._cache.version(key)
        if calm:
            self._looked(key)
        return calm


def _tick() -> int:
    return int(asyncio.get_running_loop().time() / TICK)
