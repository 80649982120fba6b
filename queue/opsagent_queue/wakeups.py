"""Waiting for work: a subscription that survives the loss of its connection.

A message only says "look again"; what there is to do is always read from the queue. That is why
every new subscription counts as a wake-up too: what was published while nobody listened is lost.
"""

import asyncio
import logging
import random
from types import TracebackType
from typing import Final, Self

import msgspec
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from opsagent_queue.keys import Keys
from opsagent_queue.wire import EventType

logger = logging.getLogger(__name__)


class Subscribed(msgspec.Struct, frozen=True):
    """A subscription was made, or made again: what was published before it is not known."""


class Created(msgspec.Struct, frozen=True):
    """A new task was announced, ours or another agent's."""

    task_id: str


class Cancelled(msgspec.Struct, frozen=True):
    """A task was cancelled: whoever runs it should stop."""

    task_id: str


class Woken(msgspec.Struct, frozen=True):
    """Something may be claimable again: tasks came back, or the gate opened."""


Wakeup = Subscribed | Created | Cancelled | Woken


class _About(msgspec.Struct, frozen=True):
    """As much of an event as is of interest here."""

    task_id: str


_PING_SECONDS: Final = 15.0
_MAX_PAUSE_SECONDS: Final = 1.0


class Wakeups:
    """Wake-ups of one queue, to be entered with `async with` and read with `async for`.

    Yields `Subscribed` after each (re)subscription, then what it is told. Never ends and never raises while Redis is away: the first attempt to
    reconnect is made at once, later ones with jitter, at most a second apart. A connection that
    answers no PING for 15 s is taken for dead.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        pool = redis.connection_pool
        self._created = keys.channels(EventType.TASK_CREATED)[0]
        self._cancelled = keys.channels(EventType.TASK_CANCELLED)[0]
        self._channels = (self._created, self._cancelled, keys.wake)
        # A pool of its own: a subscriber must neither occupy a connection that commands need nor
        # wait through the retries that suit commands.
        self._pool = ConnectionPool(
            connection_class=pool.connection_class,
            **{
                **pool.connection_kwargs,
                "retry": Retry(NoBackoff(), 0),
                "health_check_interval": 0,
            },
        )
        self._pubsub: PubSub | None = None
        self._failures = 0
        self._asked = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._drop()
        await self._pool.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Wakeup:
        while True:
            try:
                if self._pubsub is None:
                    await self._subscribe()
                    return Subscribed()
                wakeup = await self._listen(self._pubsub)
                if wakeup is not None:
                    return wakeup
            except (RedisError, OSError) as error:
                await self._drop()
                await self._pause(error)

    async def _subscribe(self) -> None:
        self._pubsub = PubSub(self._pool)
        await self._pubsub.subscribe(*self._channels)
        confirmed = 0
        while confirmed < len(self._channels):
            message = await self._pubsub.get_message(timeout=_PING_SECONDS)
            if message is None:
                raise TimeoutError("Redis did not confirm the subscription")
            confirmed += message["type"] == "subscribe"
        self._asked = False
        self._failures = 0

    async def _listen(self, pubsub: PubSub) -> Wakeup | None:
        """What a message says; None when only the connection was looked after."""
        message = await pubsub.get_message(timeout=_PING_SECONDS)
        if message is not None:
            self._asked = False
            if message["type"] != "message":
                return None
            return self._read(message["channel"], message["data"])
        if self._asked:
            raise TimeoutError("Redis did not answer a PING on the subscription")
        await pubsub.ping()
        self._asked = True
        return None

    def _read(self, channel: str, text: str) -> Wakeup:
        if channel not in {self._created, self._cancelled}:
            verb, _, task_id = text.partition(" ")
            return Cancelled(task_id) if verb == "cancelled" else Woken()
        try:
            task_id = msgspec.json.decode(text, type=_About).task_id
        except (msgspec.DecodeError, UnicodeError):
            return Woken()  # an announcement nobody can read is a reason to look, too
        return Created(task_id) if channel == self._created else Cancelled(task_id)

    async def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped

    async def _pause(self, error: Exception) -> None:
        """Nothing after the first failure, then up to twice as long each time, with full jitter."""
        self._failures += 1
        if self._failures == 1:
            logger.warning("subscription lost, reconnecting: %s", error)
            return
        longest = min(_MAX_PAUSE_SECONDS, 0.025 * 2 ** min(self._failures, 10))
        await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - jitter, no secret
