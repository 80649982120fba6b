"""What a way of telling people can do."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from opsagent_worker.alerting.notification import Notification

ChannelName = Literal["slack", "pagerduty", "webhook"]


class Channel(Protocol):
    @property
    def name(self) -> ChannelName: ...

    def reserve(self) -> float:
        """Seconds to wait before `send`, which counts on the place in the line that this takes."""
        ...

    async def send(self, notification: Notification) -> None:
        """Sends once.

        Raises:
            TaskError: it was not accepted; without a secret in the message.
        """
        ...


@dataclass(slots=True)
class Pace:
    """Lets one pass per `interval` seconds, in the order of asking."""

    interval: float
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=0.0, init=False)

    def reserve(self) -> float:
        """Seconds until the asker's turn, which it is expected to use."""
        now = self.clock()
        turn = max(now, self._next)
        self._next = turn + self.interval
        return turn - now
