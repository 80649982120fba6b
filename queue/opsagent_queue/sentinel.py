"""Connections that follow the master which Sentinels agree on."""

from collections.abc import Mapping
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from opsagent_queue.direct import DirectPool
from opsagent_queue.url import RedisUrl

SENTINEL_SECONDS: Final = 1.0
"""What a Sentinel has for its answer, and for a connection: it answers from memory, or another one does."""


class MasterPool(SentinelConnectionPool, DirectPool):
    """Connections to whichever server is the master when each is made; waits for a free one.

    A connection that is told READONLY is closed, and so are idle ones once another master is seen.
    """


class Sentinels(Sentinel):
    """The Sentinels of one URL. No connection to them is kept: a master is asked for rarely."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master.

        Raises `MasterNotFoundError`, or `AuthenticationError` if all that Sentinels had to say is
        that they do not talk to us; the message tells of each what it said.
        """
        said: list[str] = []
        refusals = 0
        for sentinel in list(self.sentinels):
            where = _address(sentinel)
            try:
                masters = await sentinel.sentinel_masters()
            except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
                refusals += 1
                said.append(f"Sentinel {where} says: {error}")
            except (exceptions.RedisError, OSError) as error:
                said.append(f"Sentinel {where} does not answer: {error}")
            else:
                masters = cast("dict[str, dict[str, Any]]", masters)  # what RESP2 gives
                if (master := self._working(masters, service_name)) is not None:
                    # The next question goes to the one that answered.
                    self.sentinels.remove(sentinel)
                    self.sentinels.insert(0, sentinel)
                    return master
                said.append(f"Sentinel {where} {_excuse(masters, service_name)}")
            finally:
                await sentinel.connection_pool.disconnect(inuse_connections=False)
        told = "; ".join(said)
        if refusals == len(said):
            raise exceptions.AuthenticationError(
                f"{told} (Sentinels have credentials of their own: sentinel_username and "
                "sentinel_password in the Redis URL)"
            )
        raise MasterNotFoundError(f"no working master is known: {told}")

    def _working(
        self, masters: Mapping[str, Mapping[str, Any]], name: str
    ) -> tuple[str, int] | None:
        state = masters.get(name)
        if state is None or not self.check_master_state(dict(state), name):
            return None
        return str(state["ip"]), int(state["port"])


def master_pool(url: RedisUrl, *, tls: Mapping[str, Any], **options: Any) -> MasterPool:
    """A pool for the service of `url`. `tls` holds for Redis and Sentinels, `options` for Redis."""
    sentinels = Sentinels(  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        list(url.nodes),
        sentinel_kwargs={
            "username": url.sentinel_username,
            "password": url.sentinel_password,
            "socket_timeout": SENTINEL_SECONDS,
            "socket_connect_timeout": SENTINEL_SECONDS,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "ssl": url.tls,
            **tls,
        },
    )
    return MasterPool(  # type: ignore[no-untyped-call] # as above
        url.service, sentinels, ssl=url.tls, **tls, **options
    )


def _address(sentinel: Redis) -> str:
    where = sentinel.connection_pool.connection_kwargs
    return f"{where['host']}:{where['port']}"


def _excuse(masters: Mapping[str, object], name: str) -> str:
    if name in masters:
        return f"knows that {name} is down, and has not chosen another master yet"
    return f"watches no {name}, but {', '.join(sorted(masters)) or 'nothing'}"
