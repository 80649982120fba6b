"""Hears on one Redis that tasks were created, on behalf of all objects whose queues are there."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from redis.asyncio import Redis

from opsagent_operator.observe.audience import Audience, Wake
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.keyspace import adds_tasks
from opsagent_queue import Announcement, Message, Subscribed, Subscription

__all__ = ["Listener"]

FAULT_PAUSE: Final = 1.0
"""Seconds until the next event is taken after one that could not be."""

log = structlog.get_logger(__name__)


class Listener:
    """The subscriber of one Redis. Objects are followed from their first visit on, until they go.

    Whenever a subscription is made, all whom it concerns are visited: what was announced before is
    not known. Must be closed.
    """

    def __init__(self, redis: Redis, *, wake: Wake, on_connect: Callable[[], None]) -> None:
        self._subscription = Subscription(redis)
        self._wake = wake
        self._on_connect = on_connect
        self._followed: dict[Key, Audience | None] = {}
        self._audiences: dict[str, dict[frozenset[str], Audience]] = {}
        """By channel, then by agents."""
        self._task: asyncio.Task[None] | None = None
        self.connections = 0
        """How often a subscription was made."""

    def __len__(self) -> int:
        """How many objects are followed."""
        return len(self._followed)

    @property
    def started(self) -> bool:
        """Whether there has ever been anything to listen to."""
        return self._task is not None

    @property
    def listening(self) -> bool:
        """Whether announcements can arrive at present."""
        return self._subscription.listening

    def follow(self, key: Key, channel: str | None, agents: Iterable[str] = ()) -> None:
        """Wake `key` for tasks of `agents`, or of everybody if there are none, announced on `channel`.

        Without a channel it is only woken with all others. What it was woken for before is forgotten.
        """
        self.leave(key)
        if channel is None:
            self._followed[key] = None
            return
        audiences = self._audiences.get(channel)
        if audiences is None:
            audiences = self._audiences[channel] = {}
            self._subscription.add(channel)
        names = frozenset(agents)
        audience = audiences.get(names)
        if audience is None:
            audience = audiences[names] = Audience(channel, names, self._wake)
        audience.keys[key] = None
        self._followed[key] = audience
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())

    def leave(self, key: Key) -> None:
        """Wake `key` no more."""
        audience = self._followed.pop(key, None)
        if audience is None:
            return
        del audience.keys[key]
        if audience.keys:
            return
        audiences = self._audiences[audience.channel]
        del audiences[audience.agents]
        if not audiences:
            del self._audiences[audience.channel]
            self._subscription.remove(audience.channel)

    def wake_all(self) -> None:
        """Have all objects on this Redis looked at."""
        for key in self._followed:
            self._wake(key, None)

    async def close(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            # Before Python 3.12 `asyncio.wait_for`, which redis-py uses, may swallow one.
            task.cancel()
            await asyncio.wait([task], timeout=1.0)

    async def _listen(self) -> None:
        async with self._subscription:
            while True:
                try:
                    self._take(await anext(self._subscription))
                except Exception:  # a fault of ours: without a listener there are still the polls
                    log.exception("cannot take what a Redis has told")
                    await asyncio.sleep(FAULT_PAUSE)

    def _take(self, event: Subscribed | Message) -> None:
        match event:
            case Message(channel=channel, text=text):
                self._hear(channel, text)
            case Subscribed(channels=()):
                self.connections += 1
                self._on_connect()
                self.wake_all()
            case Subscribed(channels=channels):
                self._wake_listeners(channels)

    def _hear(self, channel: str, text: str) -> None:
        if not adds_tasks(channel, text):
            return
        announcement = Announcement.read(text)
        for audience in self._audiences.get(channel, {}).values():
            if announcement.concerns(audience.agents):
                audience.tell()

    def _wake_listeners(self, channels: Iterable[str]) -> None:
        for channel in channels:
            for audience in self._audiences.get(channel, {}).values():
                for key in audience.keys:
                    self._wake(key, None)
