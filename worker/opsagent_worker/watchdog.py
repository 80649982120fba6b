"""Notices when something blocks the event loop, and shows what it is.

A handler that computes or waits without `await` stops everything else in the process: other tasks, claims, reports and the
renewal of leases. The loop measures its own lag; a thread, which a blocked loop cannot stop, tells where it hangs while it
hangs.

Leases are renewed by the loop and by nothing else, on purpose. A lease says that its task is in hands that can still be
told to stop, and a blocked loop can neither be told nor report. Renewed at every third, a lease outlives a block of two
thirds of its length; a longer one gives all the worker's tasks to others, as if the worker were dead, and late reports
are refused. A thread that renewed them would keep a hung worker's tasks for ever.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

import structlog

from opsagent_worker.metrics import Metrics
from opsagent_worker.probes import Health

log = structlog.get_logger()

_TICK: Final = 0.25
_BLOCKED: Final = 1.0
_DEEPEST_STACK: Final = 20

_ADVICE: Final = "await instead of blocking, or make the handler a plain function: those run in threads of their own"


class LoopWatchdog:
    """Observes the lag of the loop in which `run` runs. Seconds throughout.

    Something that holds the interpreter's lock as well (some C extensions do) also stops the thread: then only the lag and
    the line at the end tell of it.
    """

    def __init__(
        self,
        *,
        health: Health,
        metrics: Metrics,
        tick: float = _TICK,
        blocked: float = _BLOCKED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._tick = tick
        self._blocked = blocked
        self._clock = clock
        self._turned = clock()
        self._stopped = threading.Event()

    async def run(self) -> None:
        thread = threading.Thread(
            target=self._watch,
            args=(asyncio.get_running_loop(), threading.get_ident()),
            name="watchdog",
            daemon=True,
        )
        self._turned = self._clock()
        thread.start()
        try:
            while True:
                await asyncio.sleep(self._tick)
                self._turn()
        finally:
            self._stopped.set()

    def _turn(self) -> None:
        now = self._clock()
        lag = max(0.0, now - self._turned - self._tick)
        self._turned = now
        self._health.event_loop_turned()
        self._metrics.loop_lag.observe(lag)
        if lag > self._blocked:
            log.warning("the event loop was blocked", seconds=round(lag, 3), advice=_ADVICE)

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        """Runs in the thread; one line for each block, while it lasts."""
        told: float | None = None
        while not self._stopped.wait(self._tick):
            turned = self._turned
            if turned == told or self._clock() - turned < self._tick + self._blocked:
                continue
            told = turned
            log.warning(
                "the event loop is blocked",
                blocked_by=_current_task(loop),
                stack=_stack(loop_thread),
            )


def _current_task(loop: asyncio.AbstractEventLoop) -> str | None:
    """The name of the asyncio task that runs now: a worker's tasks are named after theirs."""
    current = asyncio.current_task(loop)
    return None if current is None else current.get_name()


def _stack(thread: int) -> str:
    """Where `thread` is, innermost call last: files, lines and names, never values."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented; the only way to see another thread
    if frame is None:
        return ""
    return "".join(traceback.format_stack(frame, limit=None)[-_DEEPEST_STACK:])
