"""The queue of an object: its state, or why that is unknown and what to do about it."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from redis import exceptions as redis_errors

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec, SecretKeySource
from opsagent_operator.kube.errors import Forbidden
from opsagent_operator.model.observed import (
    InvalidSpec,
    QueueState,
    Unreachable,
    Worker,
    WorkerState,
)
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.redis_pools import Endpoint, Pool, RedisPools
from opsagent_operator.observe.secrets import SecretCache
from opsagent_queue import (
    ConfigurationError,
    QueueError,
    QueueRefusedError,
    Snapshot,
    TaskQueue,
)

__all__ = ["Queues"]

SILENT_AFTER_MS: Final = 60_000
"""A heartbeat older than this is of a pod that died without saying goodbye."""

T = TypeVar("T")

_POOL_WIDE: Final = frozenset({"ConnectionFailed", "AuthenticationFailed", "Loading", "TimedOut"})
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
}
"""What the keys of a queue are, by the end of their name."""


@dataclass(frozen=True, slots=True)
class _Connection:
    pool: Pool
    queue: TaskQueue


class Queues:
    """The queues of all objects, through pools of connections that they share."""

    def __init__(self, *, pools: RedisPools, secrets: SecretCache) -> None:
        self._pools = pools
        self._secrets = secrets

    async def observe(self, worker: Worker) -> QueueState | Unreachable:
        """The state of the queue of `worker`."""
        result = await self.use(worker, TaskQueue.snapshot)
        return result if isinstance(result, Unreachable) else _state(result)

    async def use(
        self, worker: Worker, operation: Callable[[TaskQueue], Awaitable[T]]
    ) -> T | Unreachable:
        """Run `operation` on the queue of `worker`, or say why that was not possible.

        It runs a second time if it failed with a URL that has changed meanwhile.
        """
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
        operation: Callable[[TaskQueue], Awaitable[T]],
    ) -> T | Unreachable:
        pool, queue = connection.pool, connection.queue
        try:
            result = await pool.attempt(operation(queue))
        except (QueueError, TimeoutError) as error:
            failure = await _explain(error, queue, pool, _describe(spec.queue.redis.url_from))
            if failure.reason in _POOL_WIDE:
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
        try:
            pool = self._pools.get(Endpoint(url, ca_pem, redis.allow_insecure_tls))
            queue = TaskQueue(
                pool.redis,
                worker=f"{worker.namespace}/{worker.name}",
                prefix=spec.queue.prefix,
                agents=spec.queue.agents,
            )
        except ConfigurationError as error:
            return Unreachable(
                reason="InvalidURL",
                message=f"{_describe(redis.url_from)} does not work: {error}",
            )
        return _Connection(pool, queue)

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
    error: QueueError | TimeoutError, queue: TaskQueue, pool: Pool, url: str
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
        case _ if code == "WRONGTYPE":
            return await _wrong_type(queue, pool)
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


def _state(snapshot: Snapshot) -> QueueState:
    return QueueState(
        pending=snapshot.pending,
        delayed=snapshot.delayed,
        next_due=None
        if snapshot.next_due_ms is None
        else timedelta(milliseconds=snapshot.next_due_ms),
        in_flight=snapshot.in_flight,
        dead=snapshot.dead,
        foreign=snapshot.foreign,
        oldest_seconds=None if snapshot.oldest_ms is None else snapshot.oldest_ms / 1000,
        paused=snapshot.paused,
        estimated=snapshot.estimated,
        run_id=snapshot.run_id,
        held=snapshot.busy,
        workers={
            pod: WorkerState(slots=beat.slots, version=beat.version, draining=beat.draining)
            for pod, beat in snapshot.workers.items()
            if beat.seen_ms is not None and snapshot.time_ms - beat.seen_ms < SILENT_AFTER_MS
        },
    )
