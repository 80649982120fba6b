"""The typed client of the queue: each operation is one script, or says why it is not."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from opsagent_queue.connection import redis_errors
from opsagent_queue.dead_letters import DeadLetter, DeadLetters, Replayed
from opsagent_queue.endings import Endings, to_json
from opsagent_queue.errors import ConfigurationError, MalformedTaskError
from opsagent_queue.keys import Keys
from opsagent_queue.model import (
    Cancellation,
    Claim,
    ClaimResult,
    Ended,
    Finished,
    Heartbeat,
    Lease,
    Reaped,
    Renewed,
    Results,
    Retried,
    Snapshot,
)
from opsagent_queue.notes import Notes
from opsagent_queue.progress import ProgressBoard
from opsagent_queue.scripts import AT_ONCE, Scripts, pieces
from opsagent_queue.statistics import add_up, read_end
from opsagent_queue.wakeups import Wakeups
from opsagent_queue.wire import Event, Task, score

DEFAULT_RESULT_TTL_MS: Final = 7 * 24 * 3600 * 1000
"""How long records of finished tasks are kept unless told otherwise: seven days, in ms."""

MAX_CRASHES: Final = 3
"""A task that cost this many workers their life is not handed to another one."""

_STATS_MINUTES: Final = 120


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
        self._endings = Endings(self._scripts)
        self._dead_letters = DeadLetters(self._scripts)

    async def claim(
        self,
        *,
        owner: str,
        version: str,
        count: int,
        lease_ms: int,
        token: str,
        hints: Sequence[str] = (),
        without: Collection[str] = (),
        room: Mapping[str, int] | None = None,
    ) -> ClaimResult:
        """Take up to `count` waiting tasks, 256 at most, under leases of `lease_ms`.

        `owner` is the pod, `version` what it runs. `token` must be new for each claim and the same
        when that claim is sent again after an error: it then returns the batch already taken.
        `hints` are ids heard of by `task.created`; they are looked at first, 256 at most. `without`
        names task types that are not to be handed out now, `room` how many of a type at most. Due delayed
        tasks are promoted first.

        Order is priority, then `created_at`, exact as far as the index knows the waiting tasks; of
        every 16 tasks handed out one is the oldest whatever its priority. With `more` there are tasks that
        this call did not get at: claim again at once. Claiming is not starting: `task.started` is the worker's to
        publish. A record that is no task is failed here and not returned.
        """
        if count < 1 or lease_ms < 1:
            raise ValueError("count and lease_ms must be at least 1")
        if "\n" in owner + version + token:
            raise ValueError("owner, version and token are single lines")
        limits = {**(room or {}), **dict.fromkeys(without, 0)}
        reply = await self._scripts.run(
            "claim",
            owner,
            version,
            min(count, AT_ONCE),
            lease_ms,
            token,
            len(hints[:AT_ONCE]),
            *hints[:AT_ONCE],
            len(limits),
            *(part for pair in limits.items() for part in pair),
            *self.agents,
        )
        claims = await self._decode(reply[3], owner=owner, version=version)
        return ClaimResult(
            claims=tuple(claims),
            paused=bool(reply[0]),
            next_due_ms=_optional(reply[1]),
            # What stood in the place of those that were no tasks is still there.
            more=bool(reply[2]) or len(reply[3]) == AT_ONCE < count or len(claims) < len(reply[3]),
            draining=bool(reply[4]),
        )

    async def _decode(
        self, rows: Sequence[Sequence[Any]], *, owner: str, version: str
    ) -> list[Claim]:
        """Claims from the script's rows; what is no task is failed, with the reason."""
        claims, malformed = [], []
        for task_id, data, fence, attempt, crashes in rows:
            lease = Lease(
                task_id=task_id,
                owner=owner,
                fence=int(fence),
                attempt=int(attempt),
                crashes=int(crashes),
            )
            try:
                claims.append(Claim(task=Task.decode(data), lease=lease, data=data))
            except MalformedTaskError as error:
                malformed.append(
                    Finished(
                        lease=lease,
                        status="failed",
                        seconds=0.0,
                        error=str(error),
                        error_class=type(error).__name__,
                    )
                )
        if malformed:
            await self.finish(malformed, version=version, result_ttl_ms=DEFAULT_RESULT_TTL_MS)
        return claims

    async def renew(self, leases: Sequence[Lease], *, lease_ms: int) -> Renewed:
        """Extend these leases to `lease_ms` from now; tells which are lost, and which tasks cancelled.

        An expired lease that nobody has reaped yet is still held and can be renewed.
        """
        lost: set[str] = set()
        cancelled: set[str] = set()
        for piece in pieces(leases):
            reply = await self._scripts.run("renew", lease_ms, *_flatten(piece))
            lost.update(reply[0])
            cancelled.update(reply[1])
        return Renewed(lost=frozenset(lost), cancelled=frozenset(cancelled))

    async def finish(
        self, finished: Sequence[Finished], *, version: str, result_ttl_ms: int
    ) -> tuple[bool, ...]:
        """Record how tasks ended, release their leases and publish `task.<status>` of each.

        Records expire `result_ttl_ms` later. A failed task also joins the dead ones. A task that was
        cancelled meanwhile stays cancelled and is published as such, whatever is reported.

        One script call, if all succeeded and nobody touched their records, or none came with its
        `data`; else two (of 256 tasks each). Tells of each whether it was taken. False: its lease was
        lost, and nothing changed but the counter `late_finishes`. Raises `ValueError` if any result
        is not JSON; then nothing is sent.
        """
        return await self._endings.send(finished, version=version, result_ttl_ms=result_ttl_ms)

    async def retry(self, retried: Sequence[Retried], *, version: str) -> tuple[bool, ...]:
        """End these attempts and try again after `delay_ms` each; `version` is what ran them.

        `retry_count` grows by one for each that is `counted`. A task keeps its place by priority
        when it is due. Tells of each whether it was taken; False: its lease was lost, which is
        counted in `late_retries`.
        """
        taken: list[bool] = []
        for piece in pieces(retried):
            reply = await self._scripts.run(
                "retry",
                version,
                str(uuid.uuid4()),
                *(
                    part
                    for one in piece
                    for part in (
                        *_flatten([one.lease]),
                        max(0, one.delay_ms),
                        to_json(one.error),
                        one.error_class or "",
                        int(one.counted),
                    )
                ),
            )
            taken += map(bool, reply)
        return tuple(taken)

    async def release(self, leases: Sequence[Lease]) -> int:
        """Hand tasks back that were not started or were interrupted; not counted as an attempt.

        They wait again with their original score. Returns how many leases were still held; the
        others are counted in `late_releases`.
        """
        return sum(
            [
                int(await self._scripts.run("release", str(uuid.uuid4()), *_flatten(piece)))
                for piece in pieces(leases)
            ]
        )

    async def reap(self, *, limit: int = 100, result_ttl_ms: int = DEFAULT_RESULT_TTL_MS) -> Reaped:
        """Bring back tasks whose lease expired, promote due delayed ones, look after orphans.

        At most `limit` of each. A task whose lease expired for the third time is failed instead
        of requeued, joins the dead ones as poisoned and is published as `task.failed`; its record
        expires after `result_ttl_ms`. Anyone may call this at any time.
        """
        requeued, dead, promoted, next_ms = await self._scripts.run(
            "reap", limit, MAX_CRASHES, result_ttl_ms, str(uuid.uuid4()), *self.agents
        )
        return Reaped(
            requeued=int(requeued),
            dead=int(dead),
            promoted=int(promoted),
            next_expiry_ms=_optional(next_ms),
        )

    async def index(self) -> int:
        """Sort up to 512 waiting tasks into the index; how many are unknown after that, at least.

        Claiming does the same in passing. Worth calling while no worker runs, until it returns 0: what
        the index does not know, a snapshot can only estimate.
        """
        return int(await self._scripts.run("index", *self.agents))

    async def snapshot(
        self, *, soon_ms: int = 0, versions: Collection[str] = (), minutes: int = 10
    ) -> Snapshot:
        """The queue's state in one atomic read; changes nothing.

        `soon_ms` is how far ahead `Snapshot.soon` looks. `Snapshot.mean_seconds` is about what `versions`
        finished in the last `minutes`, the current one included (at most 120).

        Exact for up to 200 waiting tasks. Beyond, what the index knows is counted as it stands there, and
        what it does not know (`Snapshot.unknown`) is estimated from a sample, until `index` has returned 0.
        """
        if not 1 <= minutes <= _STATS_MINUTES:
            raise ValueError(f"minutes must be between 1 and {_STATS_MINUTES}")
        reply = await self._scripts.run(
            "snapshot", max(0, soon_ms), minutes, len(versions), *versions, *self.agents
        )
        fields = dict(_pairs(reply[0]))
        return Snapshot(
            pending=int(fields["pending"]),
            delayed=int(fields["delayed"]),
            soon=int(fields["soon"]),
            next_due_ms=_optional(fields["next_due_ms"]),
            in_flight=int(fields["in_flight"]),
            dead=int(fields["dead"]),
            foreign=int(fields["foreign"]),
            orphaned=int(fields["orphaned"]),
            oldest_ms=_optional(fields["oldest_ms"]),
            paused=fields["paused"] == "1",
            time_ms=int(fields["time_ms"]),
            run_id=fields["run_id"] or None,
            role=fields["role"] or None,
            fence=int(fields["fence"]),
            unknown=int(fields["unknown"]),
            estimated=int(fields["estimated"]) == 1,
            pending_by_type={kind: int(number) for kind, number in _pairs(reply[1])},
            busy={pod: int(held) for pod, held in _pairs(reply[2])},
            workers={
                pod: beat
                for pod, text in _pairs(reply[3])
                if (beat := _heartbeat(text)) is not None
            },
            marked=frozenset(reply[4]),
            mean_seconds=float(fields["mean_seconds"]) if fields["mean_seconds"] else None,
        )

    async def results(self, version: str, *, minutes: int) -> Results:
        """What `version` finished in the last `minutes`, the current one included; up to 120 are kept."""
        if not 1 <= minutes <= _STATS_MINUTES:
            raise ValueError(f"minutes must be between 1 and {_STATS_MINUTES}")
        return add_up(await self._scripts.run("results", version, minutes))

    async def recent(self) -> tuple[Ended, ...]:
        """The last 50 tasks that ended, the latest first."""
        with redis_errors():
            texts = await self._redis.lrange(self.keys.own("recent"), 0, -1)
        return tuple(end for text in texts if (end := read_end(str(text))) is not None)

    async def enqueue(self, task: Task) -> bool:
        """Add a task as the orchestrator does: record, queue entry, `task.created`.

        False: there is a record of this id already; nothing changed, whatever that record says.
        """
        added = await self._scripts.run(
            "enqueue",
            task.task_id,
            task.encode(),
            task.status,
            task.created_at or "",
            task.priority,
            score(task.priority),
            Event.created(task).encode(),
        )
        return bool(added)

    async def cancel(
        self, task_id: str, *, result_ttl_ms: int = DEFAULT_RESULT_TTL_MS
    ) -> Cancellation:
        """Cancel a task of ours. One that waits ends here; one that runs is ended by its worker.

        That worker is told at once (see `Wakeups`) and again at each renewal. Whoever ends the task
        publishes `task.cancelled`. The record expires `result_ttl_ms` after its end.
        """
        reply: Cancellation = await self._scripts.run(
            "cancel", task_id, result_ttl_ms, str(uuid.uuid4()), *self.agents
        )
        return reply

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish each on its event type's channel and on the one literally named `*`, in order."""
        for piece in pieces(events):
            await self._scripts.run(
                "publish", *(part for one in piece for part in (one.event_type, one.encode()))
            )

    async def set_paused(self, paused: bool) -> None:  # noqa: FBT001 - the call reads as a sentence
        """Close or open the gate: while closed no claim hands out anything. Idempotent."""
        await self._scripts.run("gate", int(paused))

    async def set_drain_marks(self, pods: Collection[str], *, ttl_ms: int = 120_000) -> None:
        """Mark exactly these pods: until the marks expire, no claim hands out anything to them.

        What a marked pod holds it keeps and may renew. Marks last `ttl_ms` by Redis' clock unless set
        again, so that nobody stays idle because of a caller that is gone. Pods that lose their mark are
        woken.
        """
        if ttl_ms < 1:
            raise ValueError("ttl_ms must be at least 1")
        await self._scripts.run("drain", ttl_ms, *pods)

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

    async def dead_letters(self, *, limit: int, offset: int = 0) -> tuple[DeadLetter, ...]:
        """Tasks that failed for good, the newest first; see `DeadLetters.page`."""
        return await self._dead_letters.page(limit=limit, offset=offset)

    async def replay(self, ids: Sequence[str]) -> Replayed:
        """Let dead tasks wait again as if they were new; see `DeadLetters.replay`."""
        return await self._dead_letters.replay(ids)

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget dead letters; see `DeadLetters.drop`."""
        return await self._dead_letters.drop(ids)

    def notes(self) -> Notes:
        """What workers of this queue remember for a while; see `Notes`."""
        return Notes(self._redis, self.keys)

    def progress(self) -> ProgressBoard:
        """How far running tasks are; see `ProgressBoard`."""
        return ProgressBoard(self._redis, self._scripts, self.keys)

    def wakeups(self) -> Wakeups:
        """A subscription that tells when to look at the queue again; see `Wakeups`."""
        return Wakeups(self._redis, self.keys)


def _flatten(leases: Sequence[Lease]) -> list[str | int]:
    return [part for lease in leases for part in (lease.task_id, lease.owner, lease.fence)]


def _optional(text: str | int | None) -> int | None:
    return None if text is None or text == "" else int(text)


def _pairs(flat: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _heartbeat(text: str) -> Heartbeat | None:
    """None for what is no heartbeat of ours: a worker image may write anything there."""
    try:
        return msgspec.json.decode(text, type=Heartbeat)
    except (msgspec.DecodeError, UnicodeError):
        return None
