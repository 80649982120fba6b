"""Passes on what handlers say about how far they are, so that people and the operator can read it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from opsagent_queue import Lease, Progress, QueueError, TaskQueue
from opsagent_worker.metrics import Metrics
from opsagent_worker.redaction import Redactor
from opsagent_worker.running import RunningTask

log = structlog.get_logger()

_INTERVAL: Final = 1.0
_PAUSE_AFTER_FAILURE: Final = 5.0
_LAST_WORDS_SECONDS: Final = 1.0
_LONGEST_MESSAGE: Final = 200


@dataclass(slots=True, kw_only=True)
class ProgressReporter:
    """Writes the last word of every running task at most once a second, all of them in one script call.

    A handler may report as often as it likes and from any thread. The first word is written at once, the last one within
    a second. Best effort: while Redis is away only the latest words are kept. A task's entry goes when its attempt ends.
    """

    queue: TaskQueue
    pod_name: str
    redactor: Redactor
    metrics: Metrics
    interval: float = _INTERVAL
    """Seconds between two writes."""
    pause_after_failure: float = _PAUSE_AFTER_FAILURE
    """Seconds until the next try when Redis has not answered."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _said: dict[RunningTask, tuple[float | None, str]] = field(default_factory=dict, init=False)
    _known: set[RunningTask] = field(default_factory=set, init=False)
    """Running tasks that have ever said something."""
    _ended: list[Lease] = field(default_factory=list, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _wake: Callable[[], object] = field(default=lambda: None, init=False)

    def report(self, running: RunningTask, fraction: float | None, message: str) -> None:
        """`fraction` from 0 to 1, or None. Never blocks; from any thread."""
        with self._lock:
            if running.job is None:
                return  # a thread that outlived its attempt
            first = not self._said
            self._said[running] = (fraction, message)
            self._known.add(running)
        if first:
            self._wake()

    def add(self, running: RunningTask) -> None:
        """Nothing is said yet."""

    def remove(self, running: RunningTask) -> None:
        """Forgets what was said about a task whose attempt has ended."""
        if running not in self._known:
            return
        with self._lock:
            self._known.discard(running)
            self._said.pop(running, None)
            self._ended.append(running.lease)
        self._news.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        # The loop may end while a handler's thread still talks.
        self._wake = lambda: _unless_closed(loop, self._news.set)
        self._news.set()  # for what was said before there was anybody to wake
        not_before = loop.time()
        while True:
            await self._news.wait()
            await asyncio.sleep(not_before - loop.time())
            self._news.clear()
            written = await self._write()
            not_before = loop.time() + (self.interval if written else self.pause_after_failure)

    async def last_words(self) -> None:
        """Writes what is left, if Redis takes it within a second."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._write()

    async def _write(self) -> bool:
        """Whether Redis took what there was."""
        with self._lock:
            said, self._said = self._said, {}
            ended, self._ended = self._ended, []
        try:
            await self.queue.progress().write(
                [(running.lease, self._progress(*words)) for running, words in said.items()],
                ended=ended,
            )
        except QueueError as error:
            self.metrics.redis_errors.labels("progress").inc()
            log.debug("progress not written", reason=str(error))
            with self._lock:
                said = {one: words for one, words in said.items() if one in self._known}
                self._said = {**said, **self._said}
                self._ended = [*ended, *self._ended]
            self._news.set()
            return False
        return True

    def _progress(self, fraction: float | None, message: str) -> Progress:
        return Progress(
            fraction=None if fraction is None else round(fraction, 4),
            # Redacted first: half a secret would not be recognized.
            message=self.redactor.text(str(message))[:_LONGEST_MESSAGE],
            worker=self.pod_name,
        )


def _unless_closed(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
