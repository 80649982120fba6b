"""What single moves of the queue cost, without a worker: the queue's own share of every number."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec
from redis import Redis

from benchmarks.failure import BenchmarkError
from benchmarks.samples import quantile
from benchmarks.server import Server, running
from benchmarks.tasks import KEYS, WORKER, fill
from opsagent_queue import Claim, ClaimResult, Finished, Task, TaskQueue, connect

BATCH = 32
"""Tasks in one claim and in one finish: a worker's free slots."""

_LEASE_MS = 30_000
_TTL_MS = 3_600_000
_AGENT = "ops"
_MIXED = (1_000, 10_000, 100_000)
_SNAPSHOTS = 30
_T = TypeVar("_T")


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of call, made `calls` times, one after the other."""

    name: str
    calls: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    redis_us: float
    """Time Redis spent in the script, per call (INFO commandstats, usec of EVALSHA)."""


@dataclass
class _Stopwatch:
    """Collects how long each call took, and what Redis says about all of them."""

    statistics: Redis
    """A connection of its own: reading statistics is no part of what is measured."""
    seconds: list[float] = field(default_factory=list)
    redis_us: float = 0.0

    async def time(self, call: Callable[[], Awaitable[_T]]) -> _T:
        before = self._script_us()
        began = time.perf_counter()
        reply = await call()
        self.seconds.append(time.perf_counter() - began)
        self.redis_us += self._script_us() - before
        return reply

    def told(self, name: str) -> Move:
        return Move(
            name=name,
            calls=len(self.seconds),
            p50_ms=1000 * quantile(self.seconds, 0.5),
            p99_ms=1000 * quantile(self.seconds, 0.99),
            worst_ms=1000 * max(self.seconds),
            redis_us=self.redis_us / len(self.seconds),
        )

    def _script_us(self) -> float:
        found = self.statistics.info("commandstats").get("cmdstat_evalsha", {"usec": 0})
        return float(found["usec"])


def measure(*, waiting: int = 20_000, foreign: int = 10_000, calls: int = 300) -> list[Move]:
    """Each kind of move, on an empty Redis of its own per situation."""
    with running() as server, server.client() as statistics:
        plain = asyncio.run(_drain(server, statistics, waiting=waiting))
    with running() as server, server.client() as statistics:
        behind = asyncio.run(_behind_others(server, statistics, foreign=foreign, calls=calls))
    looks = list[Move]()
    for mixed in _MIXED:
        with running() as server, server.client() as statistics:
            looks += asyncio.run(_look(server, statistics, waiting=mixed))
    return [*plain, *behind, *looks]


async def _drain(server: Server, statistics: Redis, *, waiting: int) -> list[Move]:
    """All of a backlog, 32 at a time: enqueue, claim, renew, finish."""
    enqueue, claim, renew, finish = (_Stopwatch(statistics) for _ in range(4))
    async with connect(server.url) as redis:
        queue = TaskQueue(redis, worker=WORKER, agents=[_AGENT])
        for _ in range(300):
            task = Task.new(type="noop", payload={}, assigned_to=_AGENT)
            await enqueue.time(partial(queue.enqueue, task))
        fill(statistics, waiting - len(enqueue.seconds), type_="noop", assigned_to=_AGENT)
        while claims := (await claim.time(partial(_claim, queue, BATCH))).claims:
            leases = [one.lease for one in claims]
            await renew.time(partial(queue.renew, leases, lease_ms=_LEASE_MS))
            await finish.time(partial(_finish, queue, claims))
    return [
        enqueue.told("enqueue 1"),
        claim.told(f"claim {BATCH} of {waiting:,}"),
        renew.told(f"renew {BATCH}"),
        finish.told(f"finish {BATCH}"),
    ]


async def _behind_others(
    server: Server, statistics: Redis, *, foreign: int, calls: int
) -> list[Move]:
    """A new task of ours, with another agent's backlog of higher priority in front of it.

    Announced: the worker heard of the task and names it. Otherwise the claim has to come across it.
    """
    first, announced, unannounced = (_Stopwatch(statistics) for _ in range(3))
    fill(statistics, foreign, type_="faq", priority="P0", assigned_to="faq")
    async with connect(server.url) as redis:
        queue = TaskQueue(redis, worker=WORKER, agents=[_AGENT])
        for watch in (first, *(announced, unannounced) * calls):
            task = Task.new(type="noop", payload={}, assigned_to=_AGENT)
            await queue.enqueue(task)
            hints = [task.task_id] if watch is announced else []
            while not (found := await watch.time(partial(_claim, queue, 1, hints))).claims:
                if not found.more:
                    raise BenchmarkError("a claim did not find the task that waits")
            await _finish(queue, found.claims)
    return [
        first.told(f"claim 1 behind {foreign:,} foreign, first look"),
        announced.told(f"claim 1 behind {foreign:,} foreign, announced"),
        unannounced.told(f"claim 1 behind {foreign:,} foreign, unannounced"),
    ]


async def _look(server: Server, statistics: Redis, *, waiting: int) -> list[Move]:
    """What the operator reads, before and after the index knows what waits, and making it known.

    Half of what waits is another agent's, in three types and all priorities; a twentieth is delayed.
    """
    for priority in ("P0", "P1", "P2", "P3"):
        fill(statistics, waiting // 8, type_="faq", priority=priority, assigned_to="faq")
        for type_ in ("monitor", "deploy"):
            fill(statistics, waiting // 16, type_=type_, priority=priority, assigned_to=_AGENT)
    later = 1000 * (time.time() + 3600)
    delayed = {f"delayed-{number}": later + number for number in range(waiting // 20)}
    statistics.zadd(KEYS.own("delayed"), delayed)
    unknown, step, known = (_Stopwatch(statistics) for _ in range(3))
    async with connect(server.url) as redis:
        queue = TaskQueue(redis, worker=WORKER, agents=[_AGENT])
        for _ in range(_SNAPSHOTS):
            await unknown.time(queue.snapshot)
        while await step.time(queue.index):
            pass
        for _ in range(_SNAPSHOTS):
            snapshot = await known.time(queue.snapshot)
    if (snapshot.pending, snapshot.foreign) != (waiting // 16 * 8, waiting // 8 * 4):
        raise BenchmarkError("a snapshot of tasks that are all known was not exact")
    return [
        unknown.told(f"snapshot of {waiting:,} mixed, none known"),
        step.told(f"index step of {waiting:,} mixed"),
        known.told(f"snapshot of {waiting:,} mixed, all known"),
    ]


async def _claim(queue: TaskQueue, count: int, hints: Sequence[str] = ()) -> ClaimResult:
    return await queue.claim(
        owner="benchmark",
        version="v1",
        count=count,
        lease_ms=_LEASE_MS,
        token=uuid.uuid4().hex,
        hints=hints,
    )


async def _finish(queue: TaskQueue, claims: tuple[Claim, ...]) -> None:
    ended = [
        Finished(lease=one.lease, status="completed", seconds=0.001, data=one.data)
        for one in claims
    ]
    taken = await queue.finish(ended, version="v1", result_ttl_ms=_TTL_MS)
    if not all(taken):
        raise BenchmarkError("a lease was lost although nobody else claims here")
