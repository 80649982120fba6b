"""A channel of alerts that does as a test says."""

import asyncio
from dataclasses import dataclass, field

from opsagent_worker.alerting.channel import ChannelName
from opsagent_worker.alerting.notification import Notification
from opsagent_worker.errors import TaskError


@dataclass
class FakeChannel:
    """Takes what it is given, when it is let to, or fails with `error`."""

    sent: list[Notification] = field(default_factory=list)
    error: TaskError | None = None
    wait: float = 0.0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    name: ChannelName = "slack"

    def __post_init__(self) -> None:
        self.may_end.set()

    def reserve(self) -> float:
        return self.wait

    async def send(self, notification: Notification) -> None:
        self.started.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(notification)
