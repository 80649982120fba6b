"""What the no-op task of every worker does: count itself, with the time, in shared memory.

The same for all, standard library only, about a microsecond. Each process of a worker has a file of
its own; whoever measures reads them while they are written.
"""

import mmap
import os
import struct
import threading
import time
from pathlib import Path

_CAPACITY = 20_000
"""Latencies kept, per process."""
_COUNT, _FIRST, _LATEST, _HEADER = range(4)
_BYTES = 8 * (_HEADER + _CAPACITY)


class Tally:
    """The tasks one worker has begun. Times are of the monotonic clock, which processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._lock = threading.Lock()  # some workers run tasks in threads

    def ran(self, sent: float = 0.0) -> None:
        """Count a task; `sent`, if not 0, is when its producer set about enqueueing it."""
        with self._lock:
            if self._pid != os.getpid():
                self._open()
            now = time.monotonic()
            count = self._values[_COUNT]
            if sent:
                self._values[_HEADER + int(count) % _CAPACITY] = now - sent
            if not count:
                self._values[_FIRST] = now
            self._values[_LATEST] = now
            self._values[_COUNT] = count + 1

    def _open(self) -> None:
        self._pid = os.getpid()
        with (self._folder / f"{self._pid}.tally").open("w+b") as file:
            file.truncate(_BYTES)
            self._values = memoryview(mmap.mmap(file.fileno(), _BYTES)).cast("d")


class Reading:
    """All processes' tallies of one worker, at one moment."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob("*.tally"))
        heads = [_values(file, _HEADER) for file in self._files]
        self._heads = [head for head in heads if len(head) == _HEADER and head[_COUNT]]

    @property
    def count(self) -> int:
        """Tasks begun, repetitions included."""
        return int(sum(head[_COUNT] for head in self._heads))

    @property
    def first(self) -> float:
        """When the first task began."""
        return min(head[_FIRST] for head in self._heads)

    @property
    def latest(self) -> float:
        """When the latest task began, which is when a no-op ends too."""
        return max(head[_LATEST] for head in self._heads)

    def latencies(self) -> list[float]:
        """Seconds from the producer's call to the handler's first line, for tasks that told it."""
        return [
            value
            for file in self._files
            for value in _values(file, _HEADER + _CAPACITY)[_HEADER:]
            if value
        ]


def _values(file: Path, count: int) -> list[float]:
    with file.open("rb") as opened:
        raw = opened.read(8 * count)
    return list(struct.unpack(f"{len(raw) // 8}d", raw[: len(raw) // 8 * 8]))
