"""The typed client of the queue: each operation is one script, or says why it is not."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from opsagent_queue.connection import redis_errors
from opsagent_queue.errors import ConfigurationError, MalformedTaskError, QueueError
from opsagent_queue.keys import Keys
from opsagent_queue.model import (
    Claim,
    ClaimResult,
    FinalStatus,
    Heartbeat,
    Lease,
    Reaped,
    Snapshot,
)
from opsagent_queue.scripts import Scripts
from opsagent_queue.wakeups import Wakeups
from opsagent_queue.wire import Event, Task, parse_time, score

DEFAULT_RESULT_TTL_MS: Final = 7 * 24 * 3600 * 1000
"""How long records of finished tasks are kept unless told otherwise: seven days, in ms."""

MAX_CRASHES: Final = 3
"""A task that cost this many workers their life is not handed to another one."""

_WINDOW: Final = 128
"""Waiting tasks looked at by the first claim call; first-in-first-out holds within it."""

_SKIP_WINDOW: Final = 512
"""Waiting tasks looked at by each further call, when other agents' tasks fill the front."""


class TaskQueue:
    """One OpsAgentWorker's view of an orchestrator's queue.

    `redis` comes from `connect`. `worker` is "namespace/name" and names our keys; `prefix` names
    the orchestrator's. Tasks assigned to none of `agents` are foreign: never taken or moved.
    Without `agents` every task is ours.

    Every operation may be repeated after `QueueUnavailableError`; repeating one that had in fact
    happened neither repeats its effect nor reports a lost lease (for five minutes).
    """

    def __init__(
        self,
        redis: Redis,
        *,
        worker: str,
        prefix: str = "orchestrator",
        agents: Sequence[str] = ("ops", "ops_agent"),
    ) -> None:
        if not redis.connection_pool.connection_kwargs.get("decode_responses"):
            raise ConfigurationError("the Redis client must decode responses: use connect()")
        if isinstance(agents, str) or "" in agents:
            raise ConfigurationError('agents is a list of names without empty ones, like ["ops"]')
        self.keys = Keys(prefix=prefix, worker=worker)
        self.agents = tuple(agents)
        self._redis = redis
        self._scripts = Scripts(redis, self.keys)

    async def claim(
        self, *, owner: str, version: str, count: int, lease_ms: int, token: str
    ) -> ClaimResult:
        """Take up to `count` waiting tasks under leases of `lease_ms`.

        `owner` is the pod, `version` what it runs. `token` must be new for each claim and the same
        when that claim is sent again after an error: it then returns the batch already taken.
        Due delayed tasks are promoted first. Order is priority, then `created_at` among the first
        128 waiting tasks. Claiming is not starting: `task.started` is the worker's to publish.

        Other agents' tasks are stepped over, call by call, until the slots are full or the queue
        has been seen to its end. A record that is no task is failed here and not returned.
        """
        if count < 1 or lease_ms < 1:
            raise ValueError("count and lease_ms must be at least 1")
        claims: list[Claim] = []
        paused, next_due_ms = False, None
        offset, anchor, page = 0, "", 0
        while len(claims) < count:
            try:
                reply = await self._scripts.run(
                    "claim",
                    owner,
                    version,
                    count - len(claims),
                    lease_ms,
                    f"{token}.{page}",
                    offset,
                    anchor,
                    _SKIP_WINDOW if page else _WINDOW,
                    *self.agents,
                )
            except QueueError:
                if claims:
                    break  # what was taken must reach the caller; the error will show itself again
                raise
            paused, next_due_ms = bool(reply[0]), _optional(reply[1])
            at_end, offset, anchor = bool(reply[2]), int(reply[3]), str(reply[4])
            for row in reply[5]:
                claim = await self._decode(row, owner=owner, version=version)
                if claim is not None:
                    claims.append(claim)
            if paused or at_end:
                break
            page += 1
        return ClaimResult(claims=tuple(claims), paused=paused, next_due_ms=next_due_ms)

    async def _decode(self, row: Sequence[Any], *, owner: str, version: str) -> Claim | None:
        task_id, data, fence, attempt, crashes = row
        lease = Lease(
            task_id=task_id,
            owner=owner,
            fence=int(fence),
            attempt=int(attempt),
            crashes=int(crashes),
        )
        try:
            return Claim(task=Task.decode(data), lease=lease)
        except MalformedTaskError as error:
            await self.finish(
                lease,
                status="failed",
                error=str(error),
                error_class="MalformedTaskError",
                seconds=0.0,
                result_ttl_ms=DEFAULT_RESULT_TTL_MS,
                version=version,
            )
            return None

    async def renew(self, leases: Sequence[Lease], *, lease_ms: int) -> frozenset[str]:
        """Extend these leases to `lease_ms` from now; returns the ids whose lease is lost.

        An expired lease that nobody has reaped yet is still held and can be renewed.
        """
        if not leases:
            return frozenset()
        lost = await self._scripts.run("renew", lease_ms, *_flatten(leases))
        return frozenset(lost)

    async def finish(
        self,
        lease: Lease,
        *,
        status: FinalStatus,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
        seconds: float,
        error_class: str | None = None,
        result_ttl_ms: int,
        version: str,
    ) -> bool:
        """Record how a task ended, release its lease and publish `task.<status>`.

        `result` goes to `metadata.result`, `error` to `error`; `seconds` is how long the attempt
        took. The record expires `result_ttl_ms` later. A failed task also joins the dead ones with
        `error_class`. A task the orchestrator cancelled meanwhile stays cancelled: then only the
        lease goes.

        False: the lease was lost. Nothing changed but the counter `late_finishes`.
        Raises `ValueError` for a result that is not JSON.
        """
        payload = {
            "status": status,
            "attempt": lease.attempt,
            "seconds": round(seconds, 3),
            "version": version,
            "error": error,
            "error_class": error_class,
        }
        done = await self._scripts.run(
            "finish",
            *_flatten([lease]),
            status,
            "" if result is None else _json(dict(result)),
            _json(error),
            error or "",
            error_class or "",
            result_ttl_ms,
            _json(payload),
            str(uuid.uuid4()),
        )
        return bool(done)

    async def retry(self, lease: Lease, *, delay_ms: int, error: str) -> bool:
        """End this attempt and try again in `delay_ms`; False if the lease was lost.

        `retry_count` grows by one. The task keeps its place by priority when it is due.
        """
        moved = await self._scripts.run("retry", *_flatten([lease]), max(0, delay_ms), _json(error))
        return bool(moved)

    async def release(self, leases: Sequence[Lease]) -> int:
        """Hand tasks back that were not started or were interrupted; not counted as an attempt.

        They wait again with their original score. Returns how many leases were still held.
        """
        if not leases:
            return 0
        return int(await self._scripts.run("release", *_flatten(leases)))

    async def reap(self, *, limit: int = 100, result_ttl_ms: int = DEFAULT_RESULT_TTL_MS) -> Reaped:
        """Bring back tasks whose lease expired, promote due delayed ones, look after orphans.

        At most `limit` of each. A task whose lease expired for the third time is failed instead
        of requeued, joins the dead ones as poisoned and is published as `task.failed`; its record
        expires after `result_ttl_ms`. Anyone may call this at any time.
        """
        requeued, dead, promoted = await self._scripts.run(
            "reap", limit, MAX_CRASHES, result_ttl_ms, str(uuid.uuid4())
        )
        return Reaped(requeued=int(requeued), dead=int(dead), promoted=int(promoted))

    async def snapshot(self) -> Snapshot:
        """The queue's state in one atomic read; changes nothing.

        Costs one look at every waiting task: which are ours is only told by their records.
        """
        reply = await self._scripts.run("snapshot", *self.agents)
        fields = dict(zip(reply[0][::2], reply[0][1::2], strict=True))
        time_ms = int(fields["time_ms"])
        return Snapshot(
            pending=int(fields["pending"]),
            delayed=int(fields["delayed"]),
            next_due_ms=_optional(fields["next_due_ms"]),
            in_flight=int(fields["in_flight"]),
            dead=int(fields["dead"]),
            foreign=int(fields["foreign"]),
            orphaned=int(fields["orphaned"]),
            oldest_ms=_age_ms(fields["oldest"], time_ms=time_ms),
            paused=fields["paused"] == "1",
            time_ms=time_ms,
            run_id=fields["run_id"] or None,
            busy={pod: int(held) for pod, held in _pairs(reply[1])},
            workers={
                pod: beat
                for pod, text in _pairs(reply[2])
                if (beat := _heartbeat(text)) is not None
            },
        )

    async def enqueue(self, task: Task) -> None:
        """Add a task as the orchestrator does: record and queue entry, then `task.created`.

        Not a script: this is the producer's given sequence of commands, the first two atomic.
        """
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.hset(
                    self.keys.record(task.task_id),
                    mapping={
                        "data": task.encode(),
                        "status": task.status,
                        "created_at": task.created_at or "",
                        "priority": task.priority,
                    },
                )
                await pipe.persist(self.keys.record(task.task_id))
                await pipe.zadd(self.keys.tasks, {task.task_id: score(task.priority)})
                await pipe.execute()
        await self.publish(Event.created(task))

    async def publish(self, event: Event) -> None:
        """Publish on the event type's channel and on the one literally named `*`."""
        text = event.encode()
        with redis_errors():
            for channel in self.keys.channels(event.event_type):
                await self._redis.publish(channel, text)

    async def set_paused(self, paused: bool) -> None:  # noqa: FBT001 - the call reads as a sentence
        """Close or open the gate: while closed no claim hands out anything. Idempotent."""
        await self._scripts.run("gate", int(paused))

    async def heartbeat(self, pod: str, beat: Heartbeat) -> None:
        """Record what `pod` says about itself, stamped with Redis' own time."""
        await self._scripts.run("heartbeat", pod, msgspec.json.encode(beat).decode())

    async def forget_worker(self, pod: str) -> None:
        """Remove a pod's heartbeat. Its leases, if any, stay until they expire."""
        with redis_errors():
            await self._redis.hdel(self.keys.own("workers"), pod)

    async def counters(self) -> Mapping[str, int]:
        """What happened out of the ordinary since this queue's first use (docs/queue.md)."""
        with redis_errors():
            reply = await self._redis.hgetall(self.keys.own("counters"))
        return {str(name): int(value) for name, value in reply.items()}

    def wakeups(self) -> Wakeups:
        """A subscription that tells when to look at the queue again; see `Wakeups`."""
        return Wakeups(self._redis, self.keys)


def _flatten(leases: Sequence[Lease]) -> list[str | int]:
    return [part for lease in leases for part in (lease.task_id, lease.owner, lease.fence)]


def _json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a task's result must be JSON: {error}") from error


def _optional(text: str | int | None) -> int | None:
    return None if text is None or text == "" else int(text)


def _pairs(flat: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _age_ms(created_at: str, *, time_ms: int) -> int | None:
    created = parse_time(created_at)
    return None if created is None else max(0, time_ms - int(created.timestamp() * 1000))


def _heartbeat(text: str) -> Heartbeat | None:
    """None for what is no heartbeat of ours: a worker image may write anything there."""
    try:
        return msgspec.json.decode(text, type=Heartbeat)
    except (msgspec.DecodeError, UnicodeError):
        return None
