"""What many objects on one Redis cost, at rest and when many of them wake at once."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from benchmarks.failure import BenchmarkError
from benchmarks.scaling_world import (
    NAMESPACE,
    Operator,
    World,
    manifest,
    world,
)
from benchmarks.tasks import announce, fill, look
from devcluster.progress import say
from opsagent_queue import Keys

WOKEN: Final = 200
START_SECONDS: Final = 600.0
WAKE_SECONDS: Final = 600.0
_BASE_SECONDS: Final = 10.0
"""How long an operator without objects has run when its memory is looked at."""
_POLLS_SECONDS: Final = 35.0
"""How long after a start all objects have been visited once more: the longest idle poll and a bit."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """`objects` idle objects on one Redis."""

    objects: int
    base_mib: float
    """The operator's memory (RSS) without any object."""
    first_start_objects: int
    """Objects without a status that it then found, beside those that had one."""
    first_start_seconds: float
    """From the start of its process until it had written the first status of each of these."""
    start_seconds: float
    """The same, of a second start, until it was ready and had visited every object."""
    start_cpu_seconds: float
    """CPU that this start took."""
    memory_mib: float
    """After that start and the rest."""
    woken_memory_mib: float
    """After objects were woken and had come to rest again."""
    rest_seconds: float
    cpu_millicores: float
    """At rest, on average."""
    api_writes: int
    """At rest, by the API server's audit log."""
    api_requests: float
    """At rest, writes and reads, but not the watches, by the operator's own count."""
    visits: float
    """At rest."""
    redis_commands: int
    """At rest, those inside scripts included, of which most are the safety poll's."""
    redis_connections: int
    woken: int
    """Objects that got a task each, all at the same moment."""
    woken_ms: list[float]
    """From the first PUBLISH until the API server had answered the write that scales it, by object."""
    most_writes: int
    """Writes to one Deployment at most until all were scaled."""


@dataclass(frozen=True)
class _Object:
    """Every other one has a prefix of its own; the others share one and are told apart by agent."""

    number: int

    @property
    def name(self) -> str:
        return f"fleet-{self.number:04}"

    @property
    def agent(self) -> str:
        return "ops" if self.number % 2 else f"agent-{self.number}"

    @property
    def keys(self) -> Keys:
        prefix = self.name if self.number % 2 else "shared"
        return Keys(prefix=prefix, worker=f"{NAMESPACE}/{self.name}")

    def manifest(self) -> dict[str, object]:
        return manifest(self.name, max_replicas=10, prefix=self.keys.prefix, agents=[self.agent])


def measure(sizes: Sequence[int], *, rest_seconds: Sequence[float]) -> Iterator[Fleet]:
    """One fleet that grows to each of `sizes`, and rests so long at each."""
    with world() as on:
        base, made = _base(on), 0
        for size, rest in zip(sizes, rest_seconds, strict=True):
            on.create([_Object(number).manifest() for number in range(made, size)])
            say(f"{size:,} objects are there")
            yield _fleet(on, base=base, new=range(made, size), size=size, rest=rest)
            made = size


def _base(on: World) -> float:
    with on.operator() as operator:
        operator.program.until(operator.ready, seconds=START_SECONDS, what="the operator")
        time.sleep(_BASE_SECONDS)
        return operator.memory_mib


def _fleet(on: World, *, base: float, new: range, size: int, rest: float) -> Fleet:
    first = _first_start(on, {_Object(number).name for number in new})
    say(f"{size:,} objects: first start {first:.1f} s")
    began = time.monotonic()
    with on.operator() as operator:
        operator.program.until(
            lambda: _all_visited(operator, size), seconds=START_SECONDS, what="all to be visited"
        )
        start, start_cpu = time.monotonic() - began, operator.cpu_seconds
        say(f"{size:,} objects: start {start:.1f} s, of which {start_cpu:.1f} s CPU")
        time.sleep(_POLLS_SECONDS)

        on.audit.read()
        cpu, seconds = operator.cpu_seconds, time.monotonic()
        requests, visits = _requests(operator), _visits(operator)
        with on.redis.working() as meter:
            time.sleep(rest)
            work = meter.so_far()
        cpu, seconds = operator.cpu_seconds - cpu, time.monotonic() - seconds
        writes = on.audit.read()
        requests, visits = _requests(operator) - requests, _visits(operator) - visits
        memory, connections = operator.memory_mib, on.operator_connections
        say(
            f"{size:,} objects at rest: {memory - base:+.1f} MiB, {1000 * cpu / seconds:.1f} mCPU,"
            f" {len(writes)} writes, {connections} connections"
        )

        count = min(WOKEN, size // 5)
        woken = [_Object(number) for number in range(0, size, size // count)][:count]
        woken_ms, most = _wake(on, operator, woken)
        say(f"{len(woken)} of {size:,} woken: {max(woken_ms):.0f} ms")
        _settle(on, woken)
        return Fleet(
            objects=size,
            base_mib=base,
            first_start_objects=len(new),
            first_start_seconds=first,
            start_seconds=start,
            start_cpu_seconds=start_cpu,
            memory_mib=memory,
            woken_memory_mib=operator.memory_mib,
            rest_seconds=seconds,
            cpu_millicores=1000 * cpu / seconds,
            api_writes=len(writes),
            api_requests=requests,
            visits=visits,
            redis_commands=work.executed,
            redis_connections=connections,
            woken=len(woken),
            woken_ms=woken_ms,
            most_writes=most,
        )


def _first_start(on: World, names: set[str]) -> float:
    """Until each of these has its first status."""
    on.audit.read()
    began, last = time.time(), 0.0
    with on.operator() as operator:
        missing = set(names)

        def told() -> bool:
            nonlocal last
            for write in on.audit.read():
                if write.resource == "opsagentworkers/status" and write.name in missing:
                    missing.discard(write.name)
                    last = write.at
            return not missing

        operator.program.until(told, seconds=START_SECONDS, what=f"{len(names)} first statuses")
        on.until_at_rest()
    return last - began


def _all_visited(operator: Operator, size: int) -> bool:
    """Keys are in the queue once, all of them from the moment at which all objects have been seen."""
    return (
        operator.ready() and _visits(operator) >= size and operator.metric("workqueue_depth") == 0
    )


def _visits(operator: Operator) -> float:
    return operator.metric("controller_runtime_reconcile_total")


def _requests(operator: Operator) -> float:
    return operator.metric("rest_client_requests_total")


def _wake(on: World, operator: Operator, objects: Sequence[_Object]) -> tuple[list[float], int]:
    """A task for each; returns how long each took, and the most writes to one Deployment."""
    on.audit.read()
    with on.redis.client() as redis:
        ids = [
            fill(redis, 1, type_="monitor", keys=one.keys, assigned_to=one.agent) for one in objects
        ]
        began = min(
            announce(redis, found, keys=one.keys, type_="monitor", assigned_to=one.agent)
            for one, found in zip(objects, ids, strict=True)
        )
    writes = Counter[str]()
    times = dict[str, float]()

    def scaled() -> bool:
        for write in on.audit.read():
            if write.resource == "deployments":
                writes[write.name] += 1
                times[write.name] = write.at
        return len(times) == len(objects)

    operator.program.until(scaled, seconds=WAKE_SECONDS, what=f"{len(objects)} to be scaled")
    on.deployments.until(
        lambda sizes: sum(size.wanted == 1 for size in sizes.values()) == len(objects),
        what="one replica for each",
        seconds=WAKE_SECONDS,
    )
    names = {name.rpartition("-")[0] for name in times}
    if names != {one.name for one in objects}:
        raise BenchmarkError(f"others were scaled: {names ^ {one.name for one in objects}}")
    return [1000 * (at - began) for at in times.values()], max(writes.values())


def _settle(on: World, objects: Sequence[_Object]) -> None:
    with on.redis.client() as redis:
        redis.flushdb()
        for one in objects:
            look(redis, keys=one.keys, assigned_to=one.agent)
    on.deployments.until(
        lambda sizes: all(size.wanted == size.pods == 0 for size in sizes.values()),
        what="all pods to be gone",
        seconds=WAKE_SECONDS,
    )
    on.until_at_rest()
