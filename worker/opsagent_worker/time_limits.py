"""Interrupts handlers whose time is over."""

import asyncio
from typing import Final

from opsagent_worker.running import Interruption, RunningTask

# A handler that is interrupted may have something to undo. Only when it goes on for longer than this is it interrupted
# again, in case the first time got lost (see cancellation.py).
_INTERRUPT_AGAIN_SECONDS: Final = 5.0


class TimeLimits:
    """Sets a timer for each handler that outlives the turn of the event loop in which it began.

    A timer costs as much as counting a task, logging it and telling its start together, and most short handlers need none.
    """

    def __init__(self) -> None:
        self._new: list[tuple[RunningTask, float]] = []

    def start(self, running: RunningTask, seconds: float) -> None:
        """Interrupts `running` after `seconds`, unless `stop` is called before."""
        loop = asyncio.get_running_loop()
        if not self._new:
            loop.call_soon(self._set_timers)
        self._new.append((running, loop.time() + seconds))

    def stop(self, running: RunningTask) -> None:
        """Its handler has ended: `running.job` is None from here on."""
        running.job = None
        if running.timer is not None:
            running.timer.cancel()
            running.timer = None

    def _set_timers(self) -> None:
        loop = asyncio.get_running_loop()
        new, self._new = self._new, []
        for running, end in new:
            if running.job is not None:
                running.timer = loop.call_at(end, self._over, running)

    def _over(self, running: RunningTask) -> None:
        running.interrupt(Interruption.TIMED_OUT)
        loop = asyncio.get_running_loop()
        running.timer = loop.call_later(_INTERRUPT_AGAIN_SECONDS, self._over, running)
