"""Results as tables, the same for the terminal and for the document."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rich.table import Table

from benchmarks.contenders import ALL, OURS
from benchmarks.crashes import Kills, Outages, Terminations
from benchmarks.memory import Memory
from benchmarks.queue_moves import Move
from benchmarks.quiet import Round as QuietRound
from benchmarks.results import Stored, label
from benchmarks.samples import median, quantile
from benchmarks.scaling_fleet import Fleet
from benchmarks.scaling_pods import ScaleIn, Start
from benchmarks.scaling_wake import Round as WakeRound
from benchmarks.throughput import Round as ThroughputRound
from benchmarks.verdict import Verdict
from opsagent_queue import MAX_CRASHES

T = TypeVar("T")
AnyStored = Stored[Any]


@dataclass(frozen=True)
class Grid:
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def rich(self) -> Table:
        table = Table(*self.columns)
        for row in self.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        return table

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def moves(found: Sequence[Move]) -> Grid:
    grid = Grid(["move", "calls", "p50 ms", "p99 ms", "worst ms", "Redis µs per call"])
    for one in found:
        grid.add(
            one.name,
            f"{one.calls}",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.worst_ms:.2f}",
            f"{one.redis_us:.0f}",
        )
    return grid


def throughput(found: Sequence[ThroughputRound]) -> Grid:
    """Medians over the rounds, fastest first."""
    grid = Grid(
        [
            "worker",
            "tasks/s",
            "lowest to highest",
            "ours ÷ its",
            "with the start",
            "CPU µs/task",
            "Redis CPU µs/task",
            "Redis commands/task",
            "requests/task",
            "memory MiB",
            "log bytes/task",
        ]
    )
    rounds = _by_contender(found, lambda one: one.contender)
    ours = median([one.per_second for one in rounds[OURS]]) if OURS in rounds else None
    for name in sorted(rounds, key=lambda name: -median([one.per_second for one in rounds[name]])):
        each = rounds[name]
        rates = [one.per_second for one in each]
        grid.add(
            label(name),
            f"**{median(rates):,.0f}**",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{ours / median(rates):.1f}" if ours else "",
            f"{median([one.per_second_overall for one in each]):,.0f}",
            f"{median([one.worker_cpu_us for one in each]):.0f}",
            f"{median([one.redis_cpu_us for one in each]):.0f}",
            f"{median([one.commands for one in each]):.1f}",
            f"{median([one.requests for one in each]):.2f}",
            f"{median([one.memory_mib for one in each]):.0f}",
            f"{median([one.logged_bytes for one in each]):.0f}",
        )
    return grid


def quiet(found: Sequence[QuietRound]) -> Grid:
    """Medians over the rounds of each round's own percentile, soonest first."""
    grid = Grid(
        ["worker", "p50 ms", "p99 ms", "idle: requests/s", "idle: Redis commands/s", "idle: CPU %"]
    )
    rounds = _by_contender(found, lambda one: one.contender)

    def percentile(name: str, share: float) -> float:
        return median([quantile(one.latencies_ms, share) for one in rounds[name]])

    for name in sorted(rounds, key=lambda name: percentile(name, 0.5)):
        each = rounds[name]
        grid.add(
            label(name),
            f"{percentile(name, 0.5):.2f}",
            f"{percentile(name, 0.99):.2f}",
            f"{median([one.idle_requests_per_second for one in each]):.1f}",
            f"{median([one.idle_commands_per_second for one in each]):.1f}",
            f"{median([one.idle_cpu_percent for one in each]):.1f}",
        )
    return grid


def memory(found: Memory) -> Grid:
    grid = Grid(["tasks done", "worker MiB", "Redis MiB"])
    for one in found.samples[:: max(1, len(found.samples) // 10)]:
        grid.add(f"{one.done:,}", f"{one.worker_mib:.1f}", f"{one.redis_mib:.0f}")
    last = found.samples[-1]
    grid.add(f"{last.done:,}", f"{last.worker_mib:.1f}", f"{last.redis_mib:.0f}")
    grid.add("growth after a fifth of the tasks", f"{found.growth_mib:+.1f}", "")
    return grid


def kills(found: Kills) -> Grid:
    rescues = found.rescue_seconds
    lease = found.lease_seconds
    return _crash_table(
        found.verdict,
        [
            ("`kill -9` · drains", f"{found.kills} · {found.drains}", ""),
            ("handlers interrupted", f"{found.interrupted}", ""),
            (
                "leases left behind, those of tasks not begun or not reported included",
                f"{found.held}",
                "",
            ),
            (
                "rescued: from the last kill of a holder to the handler's new beginning, median · longest",
                f"{median(rescues):.2f} s · {max(rescues):.2f} s" if rescues else "none to rescue",
                f"≤ {lease + 1:g} s (lease {lease:g} s)",
            ),
            (f"given up: held by {MAX_CRASHES} killed workers", f"{found.given_up}", ""),
        ],
        failed="0",
        again="interrupted or unreported ones",
        burnt="0",
    )


def terminations(found: Terminations) -> Grid:
    return _crash_table(
        found.verdict,
        [
            ("SIGTERM · drains", f"{found.terminations} · {found.drains}", ""),
            (
                "exit, median · longest",
                f"{median(found.exit_seconds):.2f} s · {max(found.exit_seconds):.2f} s",
                "",
            ),
            (
                "exit beyond the longest running handler, median · longest",
                f"{median(found.overrun_seconds):.2f} s · {max(found.overrun_seconds):.2f} s",
                "≤ 1 s",
            ),
        ],
        failed="0",
        again="0",
        burnt="0",
    )


def outages(found: Outages) -> Grid:
    how = {"frozen": "stopped (SIGSTOP)", "killed": "killed, restarted from its append-only file"}
    return _crash_table(
        found.verdict,
        [
            (f"Redis {how[found.kind]}", f"{found.outages}, {found.outage_seconds:g} s each", ""),
            ("workers that ended", f"{found.workers_ended}", "0"),
            (
                "from Redis' return to the next handler, median · longest",
                f"{median(found.resume_seconds):.2f} s · {max(found.resume_seconds):.2f} s",
                "≤ 1 s",
            ),
        ],
        failed="0",
        again="0",
        burnt="0",
    )


def wake(found: Sequence[WakeRound]) -> Grid:
    grid = Grid(
        [
            "replicas",
            "rounds",
            "accepted p50 ms",
            "p99 ms",
            "worst ms",
            "writes at most",
            "all pods ready p50 ms",
            "p99 ms",
        ]
    )
    for count in sorted({one.replicas for one in found}):
        each = [one for one in found if one.replicas == count]
        accepted = [one.accepted_ms for one in each]
        ready = [one.ready_ms for one in each]
        grid.add(
            f"0 to {count}",
            f"{len(each)}",
            f"**{median(accepted):.1f}**",
            f"{quantile(accepted, 0.99):.1f}",
            f"{max(accepted):.1f}",
            f"{max(one.writes for one in each)}",
            f"{median(ready):.0f}",
            f"{quantile(ready, 0.99):.0f}",
        )
    grid.add("promised", "", "≤ 30", "≤ 150", "", "1", "", "")
    return grid


def fleet(found: Sequence[Fleet]) -> Grid:
    """A column for each size."""
    sizes = sorted(found, key=lambda one: one.objects)
    grid = Grid(["", *(f"{one.objects:,} objects" for one in sizes), "promised for 1,000"])

    def row(name: str, tell: Callable[[Fleet], str], promised: str = "") -> None:
        grid.add(name, *(tell(one) for one in sizes), promised)

    row(
        "memory (RSS), at rest",
        lambda one: f"{one.memory_mib:.0f} MiB, without objects {one.base_mib:.0f}",
    )
    row("memory beyond that without objects", _beyond_base, "≤ +60 MiB")
    row(
        "the same, after objects were woken",
        lambda one: f"{one.woken_memory_mib - one.base_mib:+.0f} MiB",
    )
    row("CPU at rest", lambda one: f"**{one.cpu_millicores:.1f} mCPU**", "≤ 15 mCPU")
    row(
        "API writes at rest",
        lambda one: f"**{one.api_writes}** in {one.rest_seconds / 60:.0f} min",
        "0 in 5 min",
    )
    row("API requests at rest", lambda one: f"{one.api_requests:.0f}")
    row("visits at rest", lambda one: f"{one.visits / one.rest_seconds:.1f}/s")
    row(
        "Redis commands at rest",
        lambda one: f"{one.redis_commands / one.rest_seconds:.0f}/s, those in scripts included",
    )
    row("connections to Redis", lambda one: f"**{one.redis_connections}**", "≤ 3")
    row(
        "start until all are visited",
        lambda one: f"**{one.start_seconds:.1f} s**, of which {one.start_cpu_seconds:.1f} s CPU",
        "≤ 30 s",
    )
    row(
        "start until all have their first status",
        lambda one: f"{one.first_start_seconds:.1f} s for {one.first_start_objects:,} new ones",
    )
    row(
        "woken at once until all are scaled",
        lambda one: (
            f"{one.woken}: **{max(one.woken_ms) / 1000:.2f} s**, half of them in"
            f" {median(one.woken_ms) / 1000:.2f} s"
        ),
        "200: ≤ 3 s",
    )
    row("writes to one Deployment for that", lambda one: f"{one.most_writes}", "1")
    return grid


def _beyond_base(one: Fleet) -> str:
    beyond = one.memory_mib - one.base_mib
    return f"**{beyond:+.0f} MiB**, {beyond * 1024 / one.objects:.0f} KiB for each object"


def starts(found: Sequence[Start]) -> Grid:
    grid = Grid(["", "rounds", "median", "lowest to highest", "promised"])
    scaled = [one.scaled_seconds for one in found]
    bare = [one.bare_seconds for one in found]
    for name, each in (
        ("by the operator, from before enqueueing", scaled),
        ("a bare pod, from before its creation", bare),
    ):
        grid.add(
            name,
            f"{len(each)}",
            f"{median(each):.2f} s",
            f"{min(each):.2f} to {max(each):.2f} s",
            "",
        )
    grid.add("ratio of the medians", "", f"**{median(scaled) / median(bare):.2f}**", "", "≤ 1.15")
    return grid


def scale_in(found: Sequence[ScaleIn]) -> Grid:
    first = found[0]
    return Grid(
        ["", "measured", "promised"],
        [
            (
                "scale-ins · workers before · removed in each",
                f"{len(found)} · {first.workers} · {', '.join(f'{one.removed}' for one in found)}",
                f"{first.workers // 2}",
            ),
            ("busy workers that were taken", f"{sum(one.busy_removed for one in found)}", "0"),
            ("tasks", f"{sum(one.tasks for one in found)}", ""),
            ("**interrupted**", f"**{sum(one.interrupted for one in found)}**", "0"),
            ("**attempts burnt**", f"**{sum(one.attempts_burnt for one in found)}**", "0"),
            ("lost · failed", _lost_and_failed(found), "0 · 0"),
            (
                "from the lull until the Deployment asked for fewer",
                ", ".join(f"{one.lowered_seconds:.1f} s" for one in found),
                "",
            ),
            (
                "from the lull until those pods were on their way out",
                ", ".join(f"{one.gone_seconds:.1f} s" for one in found),
                "",
            ),
        ],
    )


def _lost_and_failed(found: Sequence[ScaleIn]) -> str:
    return f"{sum(one.lost for one in found)} · {sum(one.failed for one in found)}"


def contenders(stored: Stored[list[ThroughputRound]]) -> Grid:
    grid = Grid(["worker", "versions", "how it runs", "tasks per round"])
    for one in ALL:
        if versions := stored.versions.get(one.name):
            grid.add(one.label, versions, one.setup, f"{one.tasks:,}")
    return grid


def machine(stored: AnyStored) -> str:
    on = stored.machine
    return (
        f"{on.cores} cores ({on.cpu}), {on.memory_gib:.0f} GiB, Linux {on.kernel}, Redis {on.redis} on "
        f"loopback, Python {on.python}; load before the measurement {on.load:.1f}; {stored.taken[:10]}"
    )


def _crash_table(
    verdict: Verdict, rows: Sequence[Sequence[str]], *, failed: str, again: str, burnt: str
) -> Grid:
    grid = Grid(["", "measured", "promised"], list(rows))
    grid.add("tasks", f"{verdict.tasks:,}", "")
    grid.add("**lost**", f"**{len(verdict.lost)}**", "0")
    grid.add("failed", f"{len(verdict.failed)}", failed)
    grid.add("begun more than once", f"{verdict.executed_again}", again)
    grid.add("brought to an end more than once", f"{verdict.completed_again}", again)
    grid.add("attempts burnt", f"{verdict.attempts_burnt}", burnt)
    return grid


def _by_contender(found: Iterable[T], name: Callable[[T], str]) -> dict[str, list[T]]:
    rounds: dict[str, list[T]] = {}
    for one in found:
        rounds.setdefault(name(one), []).append(one)
    return rounds
