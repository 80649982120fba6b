"""The command line."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

from cyclopts import App
from rich.console import Console

from benchmarks import crashes as crash
from benchmarks import memory as memory_of
from benchmarks import (
    queue_moves,
    quiet,
    report,
    results,
    scaling_fleet,
    scaling_pods,
    scaling_wake,
    tables,
)
from benchmarks import throughput as speed
from benchmarks.contenders import OURS, Contender, chosen
from benchmarks.failure import BenchmarkError
from devcluster.failure import ClusterError
from devcluster.progress import say

app = App(
    name="benchmarks",
    help="What queue, worker and operator cost, beside other workers, and what crashes do to tasks.",
)
T = TypeVar("T")
Crash = Literal["kill", "terminate", "outage"]
Scaling = Literal["wake", "fleet", "pods"]

IDLE_SECONDS = 5.0
TRICKLE_SECONDS = 6.0
SEED = 20251022
"""Crashes come at random moments, the same ones in each run."""


@app.command
def worker(*names: str, rounds: int = 3) -> None:
    """The queue's moves, throughput, latency and memory (about 12 minutes).

    Parameters
    ----------
    names
        Which workers to compare: opsagent, celery, taskiq, taskiq_list, arq, dramatiq, streaq, ardiq.
        All by default.
    rounds
        How often each is measured; they take turns.
    """
    queue()
    throughput(*names, rounds=rounds)
    latency(*names, rounds=rounds)
    memory()


@app.command
def queue(*, waiting: int = 20_000, foreign: int = 10_000, calls: int = 300) -> None:
    """The queue's moves by themselves, without a worker (half a minute)."""
    machine = results.this_machine()
    moves = queue_moves.measure(waiting=waiting, foreign=foreign, calls=calls)
    results.store(results.QUEUE, moves, machine=machine)
    _show("Single moves of the queue", tables.moves(moves))


@app.command
def throughput(*names: str, rounds: int = 3) -> None:
    """No-op tasks per second, and what each costs."""
    machine, contenders = results.this_machine(), chosen(names)
    found = _in_turns(contenders, rounds, speed.measure)
    results.store(results.THROUGHPUT, found, machine=machine, contenders=contenders)
    _show("No-op tasks through one worker", tables.throughput(found))


@app.command
def latency(*names: str, rounds: int = 3) -> None:
    """From enqueueing to the handler's first line at 50 tasks a second, and what idling costs."""

    def measure(contender: Contender) -> quiet.Round:
        return quiet.measure(contender, idle_seconds=IDLE_SECONDS, trickle_seconds=TRICKLE_SECONDS)

    machine, contenders = results.this_machine(), chosen(names)
    found = _in_turns(contenders, rounds, measure)
    results.store(results.QUIET, found, machine=machine, contenders=contenders)
    _show("Enqueue to start at 50 tasks a second, and idling", tables.quiet(found))


@app.command
def memory(*, tasks: int = 100_000) -> None:
    """Our worker's memory over many tasks; a million for the document."""
    machine = results.this_machine()
    found = memory_of.measure(tasks=tasks, progress=lambda done: say(f"{done:,} of {tasks:,} done"))
    results.store(results.MEMORY, found, machine=machine)
    _show("Memory", tables.memory(found))


@app.command
def crashes(
    *kinds: Crash,
    count: int = 100,
    outages: int = 3,
    tasks: int = 20_000,
    outage_seconds: float = 10.0,
) -> int:
    """Kill workers, terminate workers, take Redis away; the exit code is 1 if a task was lost.

    Parameters
    ----------
    kinds
        Which of kill, terminate, outage. All by default.
    count
        How many kills, and how many terminations.
    outages
        How often Redis is stopped, and how often killed.
    tasks
        Of one drain; there are as many drains as kills and terminations need.
    outage_seconds
        How long Redis stays away.
    """
    machine, lost = results.this_machine(), 0
    wanted = kinds or get_args(Crash)
    if "kill" in wanted:
        kills = crash.kills(count=count, tasks=tasks, seed=SEED, progress=_counted("kill", count))
        results.store(results.KILLS, kills, machine=machine)
        _show("Workers killed", tables.kills(kills))
        lost += len(kills.verdict.lost)
    if "terminate" in wanted:
        progress = _counted("SIGTERM", count)
        ended = crash.terminations(count=count, tasks=tasks, seed=SEED, progress=progress)
        results.store(results.TERMINATIONS, ended, machine=machine)
        _show("Workers terminated", tables.terminations(ended))
        lost += len(ended.verdict.lost)
    if "outage" in wanted:
        away = [_outages(kind, count=outages, seconds=outage_seconds) for kind in OUTAGE_KINDS]
        results.store(results.OUTAGES, away, machine=machine)
        lost += sum(len(one.verdict.lost) for one in away)
    return 1 if lost else 0


@app.command
def scaling(*parts: Scaling, quick: bool = False) -> int:
    """How soon and how safely workers are scaled, and what the operator costs (half an hour).

    The exit code is 1 if a task was lost or interrupted.

    Parameters
    ----------
    parts
        Which of wake (task.created to replicas), fleet (thousands of objects) and pods (real ones:
        start from zero, scale-in of the idle). All by default.
    quick
        Few rounds and small fleets, for whoever works on the operator; nothing is stored.
    """
    machine, wanted = results.this_machine(), parts or get_args(Scaling)
    harm = 0
    if "wake" in wanted:
        rises = scaling_wake.measure(rounds=3 if quick else 20)
        _show("From task.created to replicas", tables.wake(rises))
        if not quick:
            results.store(results.WAKE, rises, machine=machine)
    if "fleet" in wanted:
        sizes, rests = ((100,), (30.0,)) if quick else ((1000, 5000), (300.0, 120.0))
        fleets = list(scaling_fleet.measure(sizes, rest_seconds=rests))
        _show("Many objects", tables.fleet(fleets))
        if not quick:
            results.store(results.FLEET, fleets, machine=machine)
    if "pods" in wanted:
        starts, scale_ins = scaling_pods.measure(
            starts=2 if quick else 5, scale_ins=1 if quick else 2
        )
        _show("From enqueueing to the first task's start, from zero", tables.starts(starts))
        _show("Down from twenty workers to the busy ones", tables.scale_in(scale_ins))
        harm = sum(one.lost + one.interrupted + one.attempts_burnt for one in scale_ins)
        if not quick:
            results.store(results.STARTS, starts, machine=machine)
            results.store(results.SCALE_IN, scale_ins, machine=machine)
    return 1 if harm else 0


@app.command(name="report")
def write_report() -> None:
    """Write the stored results into docs/benchmarks.md."""
    written = report.write()
    print(f"{report.DOCUMENT}: {', '.join(written) or 'no results are stored; nothing written'}")


OUTAGE_KINDS: Sequence[crash.Outage] = get_args(crash.Outage)
OUTAGE_TASKS = 5_000
"""Ten seconds of work, of which Redis' absence falls into the first two."""
DEFAULT_LEASE_SECONDS = 30.0


def _counted(what: str, count: int) -> crash.Progress:
    return lambda done: say(f"{what} {done} of {count}")


def _outages(kind: crash.Outage, *, count: int, seconds: float) -> crash.Outages:
    found = crash.outages(
        kind,
        count=count,
        tasks=OUTAGE_TASKS,
        seconds=seconds,
        lease_seconds=DEFAULT_LEASE_SECONDS,
        seed=SEED,
        progress=_counted(f"Redis {kind}:", count),
    )
    _show(f"Redis {kind} for {seconds:g} s", tables.outages(found))
    return found


def _in_turns(
    contenders: Sequence[Contender], rounds: int, measure: Callable[[Contender], T]
) -> list[T]:
    """Every contender once per round, so that a disturbance hits all of them alike.

    One that fails is told and left out of that round; ours must not.
    """
    found = list[T]()
    for number in range(1, rounds + 1):
        for contender in contenders:
            say(f"round {number} of {rounds}: {contender.label}")
            try:
                found.append(measure(contender))
            except BenchmarkError as error:
                if contender.name == OURS:
                    raise
                say(f"{contender.label} failed: {error}")
    return found


def _show(title: str, grid: tables.Grid) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"\n[bold]{title}[/]")
    console.print(grid.rich())


def main() -> None:
    # What is started here ends with it, also when it is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(app())
    except (BenchmarkError, ClusterError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
