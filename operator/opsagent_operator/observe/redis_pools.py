"""One pool of connections for each distinct Redis, shared by all objects that use it.

At most three connections, however many objects: two for commands, one to listen.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from redis.exceptions import ReadOnlyError

from opsagent_operator.model.observed import Unreachable
from opsagent_operator.observe.audience import Wake
from opsagent_operator.observe.batching import BatchingRedis
from opsagent_operator.observe.indexing import Indexer
from opsagent_operator.observe.listener import Listener
from opsagent_queue import QueueUnavailableError, connect
from opsagent_queue.url import RedisUrl

__all__ = ["Endpoint", "Pool", "RedisPools"]

CONNECTIONS: Final = 2
"""For commands. While one waits for a long script, the other is free for what comes then."""
SOCKET_TIMEOUT: Final = 2.0
"""Seconds for connecting and for each reply."""
COMMAND_TIMEOUT: Final = 5.0
"""Seconds for one operation, the client's own retries included."""
UNUSED_AFTER: Final = 10.0
"""Seconds after which a pool is closed that no object uses any more."""
FAILURE_HOLDS: Final = 2.0
"""Seconds for which a failure to reach a Redis counts for everybody who shares it.

A dead Redis costs one attempt at a time, however many objects use it: they must not keep the
reconcilers from those whose Redis is well. When it comes back, the listener notices at once.
"""
SILENCE_HOLDS_AT_MOST: Final = 15.0
"""Seconds up to which that is doubled each time an attempt was in vain because nothing answered: it
has kept a reconciler waiting."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a Redis is and how to talk to it: pools are shared by whoever agrees in all of it."""

    url: str = field(repr=False)  # has a password in it
    ca_pem: str | None
    allow_insecure_tls: bool

    @property
    def address(self) -> str:
        """Host, port and database, for people and metrics: nothing secret.

        Raises:
            ConfigurationError: the URL cannot be read.
        """
        url = RedisUrl.parse(self.url)
        nodes = ",".join(f"{host}:{port}" for host, port in url.nodes) or str(url.socket)
        return f"{nodes}/{url.service}/{url.db}" if url.service else f"{nodes}/{url.db}"


class Pool:
    """The connections to one Redis, whether it answered last time, and who is told of its news."""

    def __init__(self, redis: BatchingRedis, *, address: str, wake: Wake) -> None:
        self.redis = redis
        self.address = address
        self.listener = Listener(redis, wake=wake, on_connect=self._forget_failure)
        self.indexer = Indexer(wake=wake)
        self.used_at = 0.0
        self._failure: tuple[float, Unreachable] | None = None
        """Until when it holds, and what it was."""
        self._silences = 0
        self._trying = False

    def known_failure(self) -> Unreachable | None:
        """Why it is of no use to try now: the last attempt has just failed, or the next one is on."""
        if self._failure is None:
            return None
        until, failure = self._failure
        fresh = asyncio.get_running_loop().time() < until
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
        now = asyncio.get_running_loop().time()
        if self._failure is not None and now < self._failure[0]:
            return  # the same attempt failed for several
        self._silences = self._silences + 1 if failure.reason == "TimedOut" else 0
        holds = FAILURE_HOLDS * 2.0 ** min(max(0, self._silences - 1), 8)
        self._failure = (now + min(holds, SILENCE_HOLDS_AT_MOST), failure)

    def answered(self) -> None:
        if self._failure is not None:
            self._forget_failure()
            self.listener.wake_all()

    async def expect_primary(self, role: str | None) -> None:
        """Raise `QueueUnavailableError` if this Redis calls itself a replica.

        The next attempt connects anew: by then a name, or Sentinel, may lead to the primary.
        """
        if role == "slave":
            await self.redis.connection_pool.disconnect(inuse_connections=False)
            raise QueueUnavailableError("this Redis is a replica") from ReadOnlyError()

    async def close(self) -> None:
        await self.indexer.close()
        await self.listener.close()
        await self.redis.aclose()

    def _forget_failure(self) -> None:
        self._failure = None
        self._silences = 0


class RedisPools:
    """Pools by endpoint. Must be closed.

    `wake` is called for objects that have to be looked at because of what their Redis told.
    """

    def __init__(self, *, wake: Wake) -> None:
        self._wake = wake
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
            pool = self._pools[endpoint] = Pool(
                BatchingRedis(redis.connection_pool, batches=CONNECTIONS, timeout=COMMAND_TIMEOUT),
                address=endpoint.address,
                wake=self._wake,
            )
        pool.used_at = asyncio.get_running_loop().time()
        return pool

    def __len__(self) -> int:
        return len(self._pools)

    def __iter__(self) -> Iterator[Pool]:
        return iter(tuple(self._pools.values()))

    async def close_unused(self, *, seconds: float = UNUSED_AFTER) -> None:
        """Close pools without objects for which nobody has asked in this time."""
        oldest = asyncio.get_running_loop().time() - seconds
        for endpoint, pool in tuple(self._pools.items()):
            if not len(pool.listener) and pool.used_at < oldest:
                del self._pools[endpoint]
                await pool.close()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()
        self._folder.cleanup()

    def _ca_file(self, pem: str | None) -> str | None:
        if pem is None:
            return None
        path = Path(self._folder.name) / f"{hashlib.sha256(pem.encode()).hexdigest()}.crt"
        path.write_text(pem, encoding="utf-8")
        return str(path)
