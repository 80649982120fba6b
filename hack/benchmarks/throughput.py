"""How many no-op tasks a worker gets through, and what each costs."""

import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks import launch
from benchmarks.contenders import OURS, PEERS, Contender
from benchmarks.failure import BenchmarkError
from benchmarks.peers.tally import Reading
from benchmarks.server import Server, running
from benchmarks.tasks import KEYS

_PATIENCE_SECONDS = 120.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, one full queue, one empty server."""

    contender: str
    tasks: int
    per_second: float
    """From the first task's start to the last one's."""
    per_second_overall: float
    """From the start of the process to the last task's start: what a short-lived worker gives."""
    worker_cpu_us: float
    """CPU per task, all processes of the worker, once the first task ran."""
    redis_cpu_us: float
    commands: float
    """Redis commands per task, those inside scripts included."""
    requests: float
    """Times Redis read from a connection, per task: a pipeline or a script is one."""
    memory_mib: float
    """Proportional set size at the end."""
    logged_bytes: float
    """Per task."""


def measure(contender: Contender) -> Round:
    """One round. Raises BenchmarkError if the worker does not get done."""
    with running() as server, tempfile.TemporaryDirectory(prefix="benchmark-tally-") as folder:
        tally = Path(folder)
        contender.enqueue(server, tally)
        return _drain(contender, server, tally)


def _drain(contender: Contender, server: Server, tally: Path) -> Round:
    wanted = contender.tasks
    began = time.monotonic()
    with launch.launched(
        contender.command(), environment=contender.environment(server, tally), folder=PEERS
    ) as worker:
        worker.until(
            lambda: Reading(tally).count > 0, seconds=_PATIENCE_SECONDS, what="the first task"
        )
        with server.working() as meter:
            cpu, already = worker.tree.cpu_seconds(), Reading(tally).count
            worker.until(
                lambda: Reading(tally).count >= wanted,
                seconds=_PATIENCE_SECONDS,
                what=f"{wanted} tasks",
            )
            cpu = worker.tree.cpu_seconds() - cpu
            work = meter.so_far()
        reading, memory = Reading(tally), worker.tree.memory_bytes()
        if contender.name == OURS:
            worker.until(lambda: _all_completed(server, wanted), seconds=10, what="every record")
        printed = worker.printed_bytes
    measured = wanted - already
    if measured < wanted / 4:
        raise BenchmarkError(f"{contender.label} was done before it could be looked at")
    return Round(
        contender=contender.name,
        tasks=wanted,
        per_second=(wanted - 1) / (reading.latest - reading.first),
        per_second_overall=wanted / (reading.latest - began),
        worker_cpu_us=1e6 * cpu / measured,
        redis_cpu_us=1e6 * work.seconds / measured,
        commands=work.executed / measured,
        requests=work.requests / measured,
        memory_mib=memory / 2**20,
        logged_bytes=printed / wanted,
    )


def _all_completed(server: Server, wanted: int) -> bool:
    """Whether the records themselves say that each task is completed."""
    with server.client() as redis:
        if redis.zcard(KEYS.tasks) or redis.scard(KEYS.processing):
            return False
        names = list(redis.scan_iter(match=KEYS.record("*"), count=1000))
        with redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(name, "status")
            return bool(pipe.execute().count("completed") == wanted)
