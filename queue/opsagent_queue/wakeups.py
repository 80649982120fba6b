"""Waiting for work: a subscription that survives the loss of its connection.

A message only says "look again"; what there is to do is always read from the queue. That is why
every new subscription counts as a wake-up too: what was published while nobody listened is lost.
"""

import asyncio
import logging
import random
from types import TracebackType
from typing import Final, Literal, Self

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from opsagent_queue.keys import Keys
from opsagent_queue.wire import EventType

logger = logging.getLogger(__name__)

Wakeup = Literal["subscribed", "message"]

_PING_SECONDS: Final = 15.0
_MAX_PAUSE_SECONDS: Final = 1.0


class Wakeups:
    """Wake-ups of one queue, to be entered with `async with` and read with `async for`.

    Yields "subscribed" after each (re)subscription and "message" for each new task, opened gate or
    task that came back. Never ends and never raises while Redis is away: the first attempt to
    reconnect is made at once, later ones with jitter, at most a second apart. A connection that
    answers no PING for 15 s is taken for dead.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        pool = redis.connection_pool
        self._channels = (keys.channels(EventType.TASK_CREATED)[0], keys.wake)
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
                    return "subscribed"
                if await self._listen(self._pubsub):
                    return "message"
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

    async def _listen(self, pubsub: PubSub) -> bool:
        """True when a message arrived; False when only the connection was looked after."""
        message = await pubsub.get_message(timeout=_PING_SECONDS)
        if message is not None:
            self._asked = False
            return bool(message["type"] == "message")
        if self._asked:
            raise TimeoutError("Redis did not answer a PING on the subscription")
        await pubsub.ping()
        self._asked = True
        return False

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
