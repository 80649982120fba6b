"""One pool of connections for each distinct Redis, shared by all objects that use it."""

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from redis.asyncio import Redis

from opsagent_operator.model.observed import Unreachable
from opsagent_queue import connect

__all__ = ["Endpoint", "Pool", "RedisPools"]

CONNECTIONS: Final = 8
SOCKET_TIMEOUT: Final = 2.0
"""Seconds for connecting and for each reply."""
COMMAND_TIMEOUT: Final = 5.0
"""Seconds for one operation, the client's own retries included."""
UNUSED_AFTER: Final = 300.0
"""Seconds after which a pool that nobody asked for is closed."""
FAILURE_HOLDS: Final = 2.0
"""Seconds for which a failure to reach a Redis counts for everybody who shares it.

A dead Redis costs one attempt at a time, however many objects use it: they must not keep the
reconcilers from those whose Redis is well.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a Redis is and how to talk to it: pools are shared by whoever agrees in all of it."""

    url: str = field(repr=False)  # has a password in it
    ca_pem: str | None
    allow_insecure_tls: bool


class Pool:
    """The connections to one Redis, and whether it answered last time."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.used_at = 0.0
        self._failure: tuple[float, Unreachable] | None = None
        self._trying = False

    def known_failure(self) -> Unreachable | None:
        """Why it is of no use to try now: the last attempt has just failed, or the next one is on."""
        if self._failure is None:
            return None
        at, failure = self._failure
        fresh = asyncio.get_running_loop().time() < at + FAILURE_HOLDS
        return failure if fresh or self._trying else None

    async def attempt(self, operation: Awaitable[T]) -> T:
        """Await `operation`, for `COMMAND_TIMEOUT` at most; `TimeoutError` after that."""
        self._trying = True
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT):
                return await operation
        finally:
            self._trying = False

    def failed(self, failure: Unreachable) -> None:
        self._failure = (asyncio.get_running_loop().time(), failure)

    def answered(self) -> None:
        self._failure = None


class RedisPools:
    """Pools by endpoint. Must be closed."""

    def __init__(self) -> None:
        self._pools: dict[Endpoint, Pool] = {}
        # The TLS library wants certificates in files. Only public certificates are written.
        self._folder = tempfile.TemporaryDirectory(prefix="opsagent-ca-")

    def get(self, endpoint: Endpoint) -> Pool:
        """The pool of `endpoint`; nothing is connected yet.

        Raises:
            ConfigurationError: the endpoint cannot work, whatever Redis says.
        """
        pool = self._pools.get(endpoint)
        if pool is None:
            redis = connect(
                endpoint.url,
                ca_file=self._ca_file(endpoint.ca_pem),
                allow_insecure_tls=endpoint.allow_insecure_tls,
                socket_timeout=SOCKET_TIMEOUT,
                max_connections=CONNECTIONS,
                client_name="opsagent-operator",
            )
            pool = self._pools[endpoint] = Pool(redis)
        pool.used_at = asyncio.get_running_loop().time()
        return pool

    def __len__(self) -> int:
        return len(self._pools)

    async def close_unused(self, *, seconds: float = UNUSED_AFTER) -> None:
        """Close pools that nobody has asked for in this time: the objects are gone, or use others."""
        oldest = asyncio.get_running_loop().time() - seconds
        for endpoint in [key for key, pool in self._pools.items() if pool.used_at < oldest]:
            await self._pools.pop(endpoint).redis.aclose()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.redis.aclose()
        self._pools.clear()
        self._folder.cleanup()

    def _ca_file(self, pem: str | None) -> str | None:
        if pem is None:
            return None
        path = Path(self._folder.name) / f"{hashlib.sha256(pem.encode()).hexdigest()}.crt"
        path.write_text(pem, encoding="utf-8")
        return str(path)
