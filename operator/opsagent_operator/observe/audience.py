"""When objects are looked at for whom tasks are announced.

A message only says "look": what there is to do is always read from the queue. So any number of
messages that come together need one visit, as long as it begins after the last of them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from opsagent_operator.observe.cluster import Key

__all__ = ["Audience", "Wake"]

Wake = Callable[[Key, float | None], None]
"""Has an object looked at. The second argument is when, by the event loop's clock, a task was
announced for it; None if the reason is another one."""

GATHER: Final = 0.002
"""Seconds without a further message after which a burst is taken to be complete…"""
GATHER_AT_MOST: Final = 0.010
"""…or which it may go on for: a producer that adds twenty tasks causes one visit, not one for each."""
SPACING: Final = 0.025
SPACING_AT_MOST: Final = 0.1
"""Seconds between two visits while messages keep coming: the first of these, doubled up to the second."""


class Audience:
    """Objects that take the same tasks from the same queue, and how they are woken."""

    def __init__(self, channel: str, agents: frozenset[str], wake: Wake) -> None:
        self.channel = channel
        self.agents = agents
        """Whose tasks they take; empty for everybody's."""
        self.keys: dict[Key, None] = {}
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._arrived: float | None = None
        """When the first message came that nobody has been woken for."""
        self._more = False
        """Whether another message has come since somebody last looked."""
        self._woken_at = float("-inf")
        self._spacing = SPACING

    def tell(self) -> None:
        """A task was announced. Everybody is woken now or soon, and always after this message."""
        if self._arrived is not None:
            self._more = True
            return
        now = self._arrived = self._loop.time()
        self._more = False
        if now >= self._woken_at + SPACING_AT_MOST:
            self._spacing = SPACING
        due = max(now + GATHER, self._woken_at + self._spacing)
        self._loop.call_at(due, self._gathered, now + GATHER_AT_MOST)

    def _gathered(self, latest_due: float) -> None:
        """Wake everybody, unless the burst goes on and may go on."""
        now = self._loop.time()
        if self._more and now < latest_due:
            self._more = False
            self._loop.call_at(min(now + GATHER, latest_due), self._gathered, latest_due)
            return
        arrived, self._arrived = self._arrived, None
        self._woken_at = now
        self._spacing = min(2 * self._spacing, SPACING_AT_MOST)
        for key in self.keys:
            self._wake(key, arrived)
