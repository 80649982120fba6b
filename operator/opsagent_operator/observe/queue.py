"""The queue of an object: its state, or why that is unknown and what to do about it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, TypeVar

from redis import exceptions as redis_errors

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec, SecretKeySource
from opsagent_operator.kube.errors import Forbidden
from opsagent_operator.model.observed import InvalidSpec, QueueState, Unreachable, Worker
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.keyspace import keyspace_channel
from opsagent_operator.observe.orchestrator import read_orchestrator
from opsagent_operator.observe.plain import plain_queue, read_plain
from opsagent_operator.observe.redis_pools import Endpoint, Pool, RedisPools
from opsagent_operator.observe.secrets import SecretCache
from opsagent_queue import (
    ConfigurationError,
    EventType,
    PlainQueue,
    QueueError,
    QueueRefusedError,
    TaskQueue,
)

__all__ = ["Queues"]

STALE_AFTER: Final = 10.0
"""Seconds after which nobody decides on what was read: the queue may be another one by now."""

T = TypeVar("T")

_POOL_WIDE: Final = frozenset(
    {"ConnectionFailed", "AuthenticationFailed", "Loading", "TimedOut", "ReadOnly"}
)
"""Reasons that hold for everybody who uses the same Redis."""

_TYPES: Final[Mapping[str, str]] = {
    "tasks": "zset",
    "processing": "set",
    "leases": "zset",
    "claims": "hash",
    "delayed": "zset",
    "dead": "zset",
    "orphaned": "zset",
    "workers": "hash",
    "gate": "hash",
    "counters": "hash",
    "index": "hash",
    "types": "set",
    "foreign": "zset",
    "held": "set",
    "recent": "list",
    "drain": "zset",
}
"""What the keys of a queue are, by the end of their name."""


@dataclass(frozen=True, slots=True)
class _Connection:
    key: Key
    pool: Pool
    queue: TaskQueue
    plain: PlainQueue | None
    """The queue, if another system keeps it; then nothing is done to the one above."""
    spec: OpsAgentWorkerSpec
    """From which it was made."""


class _Place(NamedTuple):
    """Where tasks for an object are announced, and whose tasks those are."""

    pool: Pool
    channel: str | None
    agents: tuple[str, ...]


class Queues:
    """The queues of all objects, through pools of connections that they share.

    Each visit makes known where the queue of an object is; from then on the object is woken for its
    tasks, until `forget`.
    """

    def __init__(self, *, pools: RedisPools, secrets: SecretCache) -> None:
        self._pools = pools
        self._secrets = secrets
        self._followed: dict[Key, _Place] = {}
        self._connections: dict[Key, _Connection] = {}
        """As last used."""

    async def observe(
        self,
        worker: Worker,
        *,
        start_time: timedelta = timedelta(),
        versions: Collection[str] = (),
    ) -> QueueState | Unreachable:
        """The state of the queue of `worker`.

        Args:
            worker: whose queue.
            start_time: what a pod needs until it is ready: delayed tasks due by then are `soon`.
            versions: of whose tasks the mean run time is wanted; none if it is not wanted.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()

        async def read(connection: _Connection) -> QueueState:
            if connection.plain is not None:
                return await read_plain(connection.plain, connection.pool, start_time=start_time)
            return await read_orchestrator(
                connection.queue,
                connection.key,
                connection.pool,
                start_time=start_time,
                versions=versions,
            )

        state = await self._use(worker, read)
        age = loop.time() - asked_at
        if isinstance(state, QueueState) and age > STALE_AFTER:
            return Unreachable(
                reason="Stale",
                message=f"what Redis told is {age:.0f} s old; check whether the operator gets enough"
                " CPU, and how busy that Redis is",
            )
        return state

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._connections.pop(key, None)
        place = self._followed.pop(key, None)
        if place is not None:
            place.pool.listener.leave(key)

    async def use(
        self, worker: Worker, operation: Callable[[TaskQueue], Awaitable[T]]
    ) -> T | Unreachable:
        """Run `operation` on the queue of `worker`, or say why that was not possible.

        It runs a second time if it failed with a URL that has changed meanwhile.
        """
        return await self._use(worker, lambda connection: operation(connection.queue))

    async def _use(
        self, worker: Worker, operation: Callable[[_Connection], Awaitable[T]]
    ) -> T | Unreachable:
        if isinstance(worker.spec, InvalidSpec):
            return Unreachable(reason="InvalidSpec", message="the spec cannot be read")
        connection = await self._connect(worker, worker.spec)
        if isinstance(connection, Unreachable):
            return connection
        if (failure := connection.pool.known_failure()) is not None:
            return failure
        result = await self._attempt(worker.spec, connection, operation)
        if isinstance(result, Unreachable) and result.reason in _POOL_WIDE:
            self._forget_secrets(worker.namespace, worker.spec)
            again = await self._connect(worker, worker.spec)
            if isinstance(again, Unreachable):
                return again
            if again.pool is not connection.pool:
                return await self._attempt(worker.spec, again, operation)
        return result

    async def _attempt(
        self,
        spec: OpsAgentWorkerSpec,
        connection: _Connection,
        operation: Callable[[_Connection], Awaitable[T]],
    ) -> T | Unreachable:
        pool = connection.pool
        try:
            result = await pool.attempt(operation(connection))
        except (QueueError, TimeoutError) as error:
            failure = await _explain(error, connection, _describe(spec.queue.redis.url_from))
            # What a user may not do with this object's keys, it may do with another's.
            forbidden = isinstance(error, QueueRefusedError) and error.code == "NOPERM"
            if failure.reason in _POOL_WIDE and not forbidden:
                pool.failed(failure)
            return failure
        pool.answered()
        return result

    async def _connect(self, worker: Worker, spec: OpsAgentWorkerSpec) -> _Connection | Unreachable:
        redis = spec.queue.redis
        url = await self._secret_value(worker.namespace, redis.url_from)
        if isinstance(url, Unreachable):
            return url
        ca_pem: str | Unreachable | None = None
        if redis.ca_from is not None:
            ca_pem = await self._secret_value(worker.namespace, redis.ca_from)
        if isinstance(ca_pem, Unreachable):
            return ca_pem
        key = Key(worker.namespace, worker.name)
        try:
            pool = self._pools.get(Endpoint(url, ca_pem, redis.allow_insecure_tls))
            known = self._connections.get(key)
            if known is not None and known.spec is spec and known.pool is pool:
                return known
            queue = TaskQueue(
                pool.redis,
                worker=f"{worker.namespace}/{worker.name}",
                prefix=spec.queue.prefix,
                agents=spec.queue.agents,
            )
            plain = plain_queue(pool, spec.queue)
        except ConfigurationError as error:
            return Unreachable(
                reason="InvalidURL",
                message=f"{_describe(redis.url_from)} does not work: {error}",
            )
        if plain is None:
            channel = queue.keys.channels(EventType.TASK_CREATED)[0]
            self._follow(key, _Place(pool, channel, queue.agents))
        else:
            self._follow(key, _Place(pool, keyspace_channel(pool.redis, plain.key), ()))
        connection = self._connections[key] = _Connection(key, pool, queue, plain, spec)
        return connection

    def _follow(self, key: Key, place: _Place) -> None:
        known = self._followed.get(key)
        if known == place:
            return
        if known is not None:
            known.pool.listener.leave(key)
        self._followed[key] = place
        place.pool.listener.follow(key, place.channel, place.agents)

    async def _secret_value(self, namespace: str, source: SecretKeySource) -> str | Unreachable:
        ref = source.secret_key_ref
        try:
            data = await self._secrets.get(Key(namespace, ref.name))
        except Forbidden as error:
            return Unreachable(
                reason="SecretForbidden",
                message=f"the operator may not read Secret {ref.name}: {error}; grant it `get` on"
                " Secrets in this namespace",
            )
        if data is None:
            return Unreachable(
                reason="SecretNotFound",
                message=f"Secret {ref.name} does not exist in namespace {namespace}; create it"
                f" with the key {ref.key}",
            )
        if not data.get(ref.key):
            self._secrets.forget(Key(namespace, ref.name))
            return Unreachable(
                reason="SecretKeyMissing",
                message=f"Secret {ref.name} has no key {ref.key}, or nothing in it; add it",
            )
        return data[ref.key]

    def _forget_secrets(self, namespace: str, spec: OpsAgentWorkerSpec) -> None:
        for source in (spec.queue.redis.url_from, spec.queue.redis.ca_from):
            if source is not None:
                self._secrets.forget(Key(namespace, source.secret_key_ref.name))


def _describe(source: SecretKeySource) -> str:
    ref = source.secret_key_ref
    return f"the Redis URL in Secret {ref.name}, key {ref.key},"


async def _explain(
    error: QueueError | TimeoutError, connection: _Connection, url: str
) -> Unreachable:
    """The reason and the advice for what went wrong; `url` says where the URL comes from."""
    cause = error.__cause__ if isinstance(error, QueueError) else error
    code = error.code if isinstance(error, QueueRefusedError) else ""
    text = str(error)
    match cause:
        case _ if code == "NOPERM" or isinstance(
            cause, redis_errors.AuthenticationError | redis_errors.AuthorizationError
        ):
            return Unreachable(
                reason="AuthenticationFailed",
                message=f"{text}; check user and password of {url} and what that user may do",
            )
        case redis_errors.BusyLoadingError():
            return Unreachable(
                reason="Loading",
                message="Redis is still loading its data; nothing to do but wait",
            )
        case redis_errors.ReadOnlyError():
            return Unreachable(
                reason="ReadOnly",
                message=f"{text}; {url} points to a replica: point it to the primary",
            )
        case redis_errors.TimeoutError() | TimeoutError():
            return Unreachable(
                reason="TimedOut",
                message=f"Redis does not answer in time; check that {url} names a host that can be"
                " reached from here, and how busy that Redis is",
            )
        case redis_errors.ConnectionError() | OSError():
            return Unreachable(
                reason="ConnectionFailed",
                message=f"{text}; check that Redis runs and that {url} names the right host,"
                " port and scheme",
            )
        case _ if code == "WRONGTYPE" and connection.plain is not None:
            return Unreachable(
                reason="WrongType",
                message=f"in Redis, {text}; correct spec.queue.kind, key or inFlightKey",
            )
        case _ if code == "WRONGTYPE":
            return await _wrong_type(connection.queue, connection.pool)
    return Unreachable(reason="Refused", message=f"{text}; look at Redis' own log")


async def _wrong_type(queue: TaskQueue, pool: Pool) -> Unreachable:
    """Name the key that is in the way: the script's own error does not."""
    what = "a key of the queue, or the record of a task, has a type that it should not have"
    with suppress(redis_errors.RedisError, TimeoutError):  # then it stays without a name
        for key in queue.keys.vector:
            wanted = _TYPES.get(key.rpartition(":")[2])
            found = str(await pool.attempt(pool.redis.type(key)))
            if wanted is not None and found not in {"none", wanted}:
                what = f"key {key} is a {found} and not a {wanted}"
                break
    return Unreachable(
        reason="WrongType",
        message=f"in Redis, {what}: another program uses it; choose another spec.queue.prefix,"
        " or remove the key",
    )
