"""Short texts that workers of one queue share for a while, beside the queue's keys.

What a handler has to remember longer than one task lasts: whether a target was healthy, whether an alert was sent. A note
may be lost (Redis wiped, evicted); whoever keeps one must be right, if less considerate, without it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis

from opsagent_queue.connection import redis_errors
from opsagent_queue.keys import Keys

_SECONDS: Final = 2.0
"""What a note may take in all: it must not hold up the task it is about while Redis is away."""


class Notes:
    """Notes by name, such as `health:<digest>`; each ends `ttl_ms` after it was last put.

    Every method is one command, takes two seconds at most, and raises `QueueUnavailableError` or
    `QueueRefusedError`.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def get(self, name: str) -> str | None:
        async with _in_time():
            text = await self._redis.get(self._key(name))
        return None if text is None else str(text)

    async def put(self, name: str, text: str, *, ttl_ms: int) -> None:
        async with _in_time():
            await self._redis.set(self._key(name), text, px=ttl_ms)

    async def put_if_absent(self, name: str, text: str, *, ttl_ms: int) -> bool:
        """Whether `text` was put: of several who try, one succeeds.

        Sent again after its reply was lost, it may find its own text there: put one that tells.
        """
        async with _in_time():
            return bool(await self._redis.set(self._key(name), text, px=ttl_ms, nx=True))

    async def exchange(self, name: str, text: str, *, ttl_ms: int) -> str | None:
        """Puts `text` and returns what was there before, in one step."""
        async with _in_time():
            before = await self._redis.set(self._key(name), text, px=ttl_ms, get=True)
        return None if before is None else str(before)

    async def forget(self, *names: str) -> None:
        async with _in_time():
            await self._redis.delete(*map(self._key, names))

    def _key(self, name: str) -> str:
        return self._keys.own(f"note:{name}")


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    with redis_errors():
        async with asyncio.timeout(_SECONDS):
            yield
