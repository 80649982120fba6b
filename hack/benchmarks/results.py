"""Where results are kept, and on what machine they came about."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from benchmarks.contenders import ALL, Contender
from benchmarks.crashes import Kills, Outages, Terminations
from benchmarks.failure import BenchmarkError
from benchmarks.memory import Memory
from benchmarks.queue_moves import Move
from benchmarks.quiet import Round as QuietRound
from benchmarks.scaling_fleet import Fleet
from benchmarks.scaling_pods import ScaleIn, Start
from benchmarks.scaling_wake import Round as WakeRound
from benchmarks.server import running
from benchmarks.throughput import Round as ThroughputRound

REPOSITORY: Final = Path(__file__).parents[2]

T = TypeVar("T")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cores: int
    cpu: str
    memory_gib: float
    kernel: str
    python: str
    redis: str
    load: float
    """Processes that wanted to run, on average over the minute before the measurement."""


class Stored(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One part's results."""

    taken: str
    """When, ISO 8601."""
    machine: Machine
    versions: dict[str, str] = {}
    """Of what was compared, by contender."""
    found: T


QUEUE: Final = ("queue", Stored[list[Move]])
THROUGHPUT: Final = ("throughput", Stored[list[ThroughputRound]])
QUIET: Final = ("quiet", Stored[list[QuietRound]])
MEMORY: Final = ("memory", Stored[Memory])
KILLS: Final = ("kills", Stored[Kills])
TERMINATIONS: Final = ("terminations", Stored[Terminations])
OUTAGES: Final = ("outages", Stored[list[Outages]])
WAKE: Final = ("wake", Stored[list[WakeRound]])
FLEET: Final = ("fleet", Stored[list[Fleet]])
STARTS: Final = ("starts", Stored[list[Start]])
SCALE_IN: Final = ("scale-in", Stored[list[ScaleIn]])


def folder() -> Path:
    """$BENCHMARK_RESULTS, or a folder of the clone that git does not look at."""
    chosen = os.environ.get("BENCHMARK_RESULTS")
    return Path(chosen) if chosen else REPOSITORY / ".state" / "benchmarks"


def store(
    part: tuple[str, type[Stored[T]]],
    found: T,
    *,
    machine: Machine,
    contenders: list[Contender] | None = None,
) -> Path:
    """Keep a part's results, in place of earlier ones."""
    name, kind = part
    stored = kind(
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        versions={one.name: one.versions for one in contenders or []},
        found=found,
    )
    file = folder() / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(stored), indent=1))
    return file


def load(part: tuple[str, type[Stored[T]]]) -> Stored[T] | None:
    """None if there are none. Raises BenchmarkError if they are of another form."""
    name, kind = part
    file = folder() / f"{name}.json"
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise BenchmarkError(f"{file} is of another version; measure again ({error})") from None


def this_machine() -> Machine:
    """Call it before measuring: its load is that of others."""
    with running() as server:
        redis = server.version()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        memory_gib=pages / 2**30,
        kernel=platform.release().partition("-")[0],
        python=platform.python_version(),
        redis=redis,
        load=os.getloadavg()[0],
    )


def label(name: str) -> str:
    return next(one.label for one in ALL if one.name == name)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
