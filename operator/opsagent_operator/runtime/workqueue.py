"""A keyed work queue with the semantics of client-go's `util/workqueue`.

Own code, because nothing on PyPI has these semantics for asyncio: `asyncio.Queue` knows no keys,
and the operator frameworks keep theirs inside (kopf works per event, not per key).
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from opsagent_operator.runtime.metrics import QueueMetrics

__all__ = ["Backoff", "WorkQueue"]

Key = TypeVar("Key", bound=Hashable)


class Backoff:
    """Delays for one key: `base` doubled by each failure up to `limit` (both in seconds).

    Each delay is drawn from its upper half, so that keys that failed together do not come back
    together.
    """

    def __init__(self, *, base: float, limit: float, rng: random.Random) -> None:
        self._base = base
        self._limit = limit
        self._rng = rng

    def delay(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure in a row (1-based)."""
        # 2**64 is beyond every limit, and a float still.
        full = min(self._limit, self._base * 2.0 ** min(failures - 1, 64))
        return full * self._rng.uniform(0.5, 1.0)


class WorkQueue(Generic[Key]):
    """Keys to be worked on, each at most once in the queue and by one worker at a time.

    - A key that is added while it waits is there once.
    - A key that is added while it is being worked on waits until that work is done.
    - A delayed key comes back when its delay is over; of several delays, the earliest counts.
    - After `shut_down()` nothing is added; what is ready is still handed out, then `get` ends.

    A worker calls `get`, then exactly once `done`, whatever happens in between.
    """

    def __init__(self, *, backoff: Backoff, metrics: QueueMetrics) -> None:
        self._backoff: Final = backoff
        self._metrics: Final = metrics
        self._ready: deque[Key] = deque()
        self._available = asyncio.Semaphore(0)
        self._dirty: dict[Key, float] = {}
        """Keys to be worked on, and since when; ready, or held back by their own processing."""
        self._processing: dict[Key, float] = {}
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[Key, int] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()
        metrics.watch_running(total=self._running_seconds, longest=self.longest_running)

    def __len__(self) -> int:
        """How many keys are ready."""
        return len(self._ready)

    def add(self, key: Key) -> None:
        """Have `key` worked on as soon as possible."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._loop.time()
        self._metrics.adds.inc()
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: Key, delay: float) -> None:
        """Have `key` worked on in `delay` seconds, or earlier if it is due earlier anyway."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        due = self._loop.time() + delay
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self._sequence += 1  # keys need not be comparable
        heapq.heappush(self._heap, (due, self._sequence, key))
        self._set_timer()

    def retry(self, key: Key) -> float:
        """Have `key` worked on again after a failure; returns the delay in seconds."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        self._metrics.retries.inc()
        delay = self._backoff.delay(failures)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """Forget the failures of `key`: the next one is its first."""
        self._failures.pop(key, None)

    def discard_delay(self, key: Key) -> None:
        """Forget that `key` is due later: it is gone."""
        self._due.pop(key, None)

    async def get(self) -> Key | None:
        """The next key, now being worked on; None once the queue is shut down and empty."""
        await self._available.acquire()
        if not self._ready:
            self._available.release()  # the next worker shall see the end, too
            return None
        key = self._ready.popleft()
        now = self._loop.time()
        self._metrics.depth.set(len(self._ready))
        self._metrics.queue_seconds.observe(now - self._dirty.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: Key) -> None:
        """The work on `key` is over, well or not."""
        self._metrics.work_seconds.observe(self._loop.time() - self._processing.pop(key))
        if key in self._dirty:
            self._push(key)

    def shut_down(self) -> None:
        """Take nothing more; delayed keys are dropped, ready ones are still handed out."""
        self._closed = True
        self._heap.clear()
        self._due.clear()
        self._set_timer()
        self._available.release()

    def longest_running(self) -> float:
        """For how many seconds the oldest work in progress has been going on; 0 when idle."""
        return self._loop.time() - min(self._processing.values(), default=self._loop.time())

    def _running_seconds(self) -> float:
        return len(self._processing) * self._loop.time() - sum(self._processing.values())

    def _push(self, key: Key) -> None:
        self._ready.append(key)
        self._metrics.depth.set(len(self._ready))
        self._available.release()

    def _set_timer(self) -> None:
        """One timer for all delays: for the earliest that still counts."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # an earlier delay took its place, or the key is gone
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer = self._loop.call_at(self._heap[0][0], self._add_due)

    def _add_due(self) -> None:
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._set_timer()
