"""Crashes of workers and of Redis under load, and what became of the tasks.

Tasks take 0 to 40 ms, so that a pool of two workers with eight slots each is busy for about half a
minute with 20,000 of them, and a crash hits tasks at every stage: claimed, running, ended and not
yet reported. Where workers are terminated one task in a hundred takes half a second, so that there
is something to wait for. Not where they are killed: with a kill every second, what takes that long
would often be hit three times, and is then rightly given up. Short ones rarely are.
"""

import random
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from benchmarks.failure import BenchmarkError
from benchmarks.journal import Journal
from benchmarks.launch import Worker
from benchmarks.pool import Pool, pool
from benchmarks.server import Server, running
from benchmarks.tasks import KEYS, fill
from benchmarks.verdict import Verdict, at_rest, judge
from opsagent_queue import MAX_CRASHES

LEASE_SECONDS: Final = 2.0
"""In the drains with crashes; short, so that many fit into one drain."""

_SLOTS: Final = 8
_SHORT_SECONDS: Final = 0.04
_LONG_SECONDS: Final = 0.5
_LONG_SHARE: Final = 0.01
_REST_SECONDS: Final = 120.0
_BETWEEN: Final = (0.1, 1.1)
"""Seconds from the moment when all workers are at work to the next crash, drawn evenly."""
_CRASHES_PER_DRAIN: Final = 20

T = TypeVar("T")
Outage = Literal["frozen", "killed"]
Progress = Callable[[int], object]
"""Told how many crashes there were."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A worker that was killed."""

    at: float
    running: frozenset[str]
    """Tasks whose handlers were running."""
    held: frozenset[str]
    """Tasks it had a lease on, be it that they were running, to be begun or to be reported."""


class Kills(msgspec.Struct, frozen=True, kw_only=True):
    """Workers ended with SIGKILL."""

    lease_seconds: float
    kills: int
    drains: int
    interrupted: int
    """Handlers that were running in the killed processes."""
    held: int
    """Leases that the killed processes left behind."""
    rescue_seconds: list[float]
    """From each kill to the moment an interrupted handler began anew; see `rescue_seconds`."""
    given_up: int
    """Failed tasks that so many of the killed processes held that they had to be given up."""
    verdict: Verdict
    """Without those among the failed."""


class Terminations(msgspec.Struct, frozen=True, kw_only=True):
    """Workers ended with SIGTERM."""

    terminations: int
    drains: int
    exit_seconds: list[float]
    overrun_seconds: list[float]
    """What the exit took beyond the longest handler that was running."""
    verdict: Verdict


class Outages(msgspec.Struct, frozen=True, kw_only=True):
    """Redis away under load."""

    kind: Outage
    outage_seconds: float
    lease_seconds: float
    outages: int
    resume_seconds: list[float]
    """From Redis' return to the next handler's beginning."""
    workers_ended: int
    """Workers that did not live through it."""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What each drain begins with."""

    tasks: int
    long_share: float = 0.0
    """Of tasks that take half a second."""
    lease_seconds: float = LEASE_SECONDS
    options: Sequence[str] = ()
    """Of the Redis server."""


@dataclass
class _Drain:
    """One backlog, one pool, one server."""

    server: Server
    pool: Pool
    ids: list[str]
    chance: random.Random

    def crash(self, most: int, crash: Callable[["_Drain", Worker], T]) -> Iterator[T]:
        """Crash a worker up to `most` times, at random moments while there are tasks to do.

        Only while all are at work, so that another one is there to take over.
        """
        with self.server.client() as redis:
            for _ in range(most):
                deadline = time.monotonic() + _REST_SECONDS
                while len(self.pool.at_work()) < self.pool.size and not at_rest(redis):
                    if time.monotonic() > deadline:
                        raise BenchmarkError("waited in vain for every worker to be at work")
                    time.sleep(0.02)
                time.sleep(self.chance.uniform(*_BETWEEN))
                if at_rest(redis):
                    return
                yield crash(self, self.chance.choice(self.pool.workers))

    def settle(self) -> Verdict:
        """Wait until nothing is left to do, and judge."""
        deadline = time.monotonic() + _REST_SECONDS
        with self.server.client() as redis:
            # What still waits at the deadline shows as lost.
            while not at_rest(redis) and time.monotonic() < deadline:
                time.sleep(0.05)
            return judge(redis, self.pool.journal, self.ids)


def kills(*, count: int, tasks: int, seed: int, progress: Progress) -> Kills:
    """Kill a worker `count` times, in as many drains of `tasks` tasks as that takes."""
    verdicts, done, interrupted, rescues = list[Verdict](), 0, 0, list[float]()
    held = Counter[str]()
    plan = _Plan(tasks=tasks, long_share=0.0)
    for drain, crashes, verdict in _drains(count, plan, seed, _kill, progress):
        verdicts.append(verdict)
        done += len(crashes)
        interrupted += sum(len(one.running) for one in crashes)
        held.update(task_id for one in crashes for task_id in one.held)
        rescues += rescue_seconds(crashes, drain.pool.journal)
    verdict = together(verdicts)
    failed = [one for one in verdict.failed if held[one.partition(":")[0]] < MAX_CRASHES]
    return Kills(
        lease_seconds=LEASE_SECONDS,
        kills=done,
        drains=len(verdicts),
        interrupted=interrupted,
        held=held.total(),
        rescue_seconds=rescues,
        given_up=len(verdict.failed) - len(failed),
        verdict=msgspec.structs.replace(verdict, failed=failed),
    )


def rescue_seconds(crashes: Sequence[Kill], journal: Journal) -> list[float]:
    """For each interrupted handler that began anew.

    Whoever takes an interrupted task may be killed, too, before it begins it. Then this kill is what
    the task had to be rescued from.
    """
    found = list[float]()
    for crash in crashes:
        for task_id in crash.running:
            if (anew := journal.next_beginning(task_id, after=crash.at)) is not None:
                hits = [one.at for one in crashes if task_id in one.held and one.at < anew.at]
                found.append(anew.at - max([crash.at, *hits]))
    return found


def terminations(*, count: int, tasks: int, seed: int, progress: Progress) -> Terminations:
    """Terminate a worker `count` times, in as many drains of `tasks` tasks as that takes."""
    verdicts, exits = list[Verdict](), list[tuple[float, float]]()
    # None runs out: whatever is executed again was handed back although it ran.
    plan = _Plan(tasks=tasks, long_share=_LONG_SHARE, lease_seconds=30)
    for _drain, crashes, verdict in _drains(count, plan, seed, _terminate, progress):
        verdicts.append(verdict)
        exits.extend(crashes)
    return Terminations(
        terminations=len(exits),
        drains=len(verdicts),
        exit_seconds=[took for took, _ in exits],
        overrun_seconds=[took - longest for took, longest in exits],
        verdict=together(verdicts),
    )


def outages(
    kind: Outage,
    *,
    count: int,
    tasks: int,
    seconds: float,
    lease_seconds: float,
    seed: int,
    progress: Progress,
) -> Outages:
    """Take Redis away `count` times for `seconds`, each time with a pool that is busy."""
    chance, verdicts, resumed, ended = _chance(seed), list[Verdict](), list[float](), 0
    plan = _Plan(
        tasks=tasks,
        lease_seconds=lease_seconds,
        options=("--appendonly", "yes") if kind == "killed" else (),
    )
    for number in range(count):
        with ExitStack() as stack:
            drain = _drain(stack, plan, chance)
            time.sleep(chance.uniform(*_BETWEEN))
            before = list(drain.pool.workers)
            back = _take_away(drain.server, kind, seconds)
            resumed.append(_resumption(drain, since=back) - back)
            verdicts.append(drain.settle())
            ended += sum(worker.exit_code is not None for worker in before)
        progress(number + 1)
    return Outages(
        kind=kind,
        outage_seconds=seconds,
        lease_seconds=lease_seconds,
        outages=count,
        resume_seconds=resumed,
        workers_ended=ended,
        verdict=together(verdicts),
    )


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdicts of several drains as one."""
    return Verdict(
        tasks=sum(one.tasks for one in verdicts),
        lost=[task for one in verdicts for task in one.lost],
        failed=[task for one in verdicts for task in one.failed],
        executed_again=sum(one.executed_again for one in verdicts),
        completed_again=sum(one.completed_again for one in verdicts),
        attempts_burnt=sum(one.attempts_burnt for one in verdicts),
    )


def _drains(
    count: int, plan: _Plan, seed: int, crash: Callable[[_Drain, Worker], T], progress: Progress
) -> Iterator[tuple[_Drain, list[T], Verdict]]:
    """Drains until there were `count` crashes; each with what its crashes gave, still running."""
    chance, done = _chance(seed), 0
    while done < count:
        with ExitStack() as stack:
            drain = _drain(stack, plan, chance)
            crashes = list[T]()
            for one in drain.crash(min(_CRASHES_PER_DRAIN, count - done), crash):
                crashes.append(one)
                progress(done + len(crashes))
            if not crashes:
                raise BenchmarkError(f"{plan.tasks} tasks are done too soon to crash anything")
            done += len(crashes)
            yield drain, crashes, drain.settle()


def _drain(stack: ExitStack, plan: _Plan, chance: random.Random) -> _Drain:
    """A pool at work on a fresh backlog; ended with `stack`."""

    def payload() -> Mapping[str, float]:
        return {"seconds": _duration(chance, long_share=plan.long_share)}

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-crashes-")))
    server = stack.enter_context(running(*plan.options))
    workers = stack.enter_context(
        pool(server, folder, lease=f"{plan.lease_seconds:g}s", slots=_SLOTS)
    )
    with server.client() as redis:
        ids = fill(redis, plan.tasks, type_="timed", payload=payload)
    workers.start()
    return _Drain(server=server, pool=workers, ids=ids, chance=chance)


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - moments and durations, no secrets


def _duration(chance: random.Random, *, long_share: float) -> float:
    return _LONG_SECONDS if chance.random() < long_share else chance.uniform(0, _SHORT_SECONDS)


def _kill(drain: _Drain, victim: Worker) -> Kill:
    at = drain.pool.kill(victim)
    drain.pool.journal.read()
    with drain.server.client() as redis:
        claims = redis.hgetall(KEYS.own("claims"))
    owner = f"{socket.gethostname()}-{victim.pid}"
    return Kill(
        at=at,
        running=frozenset(drain.pool.journal.running[victim.pid]),
        held=frozenset(id_ for id_, claim in claims.items() if claim.split("\n")[0] == owner),
    )


def _terminate(drain: _Drain, victim: Worker) -> tuple[float, float]:
    """Seconds until it had ended, and seconds that the longest running handler had still to go."""
    at, took = drain.pool.terminate(victim, patience=_REST_SECONDS)
    drain.pool.journal.read()
    begun = drain.pool.journal.begun_by[victim.pid]
    return took, max((one.at + one.seconds - at for one in begun if one.at <= at), default=0.0)


def _take_away(server: Server, kind: Outage, seconds: float) -> float:
    """Returns, with the server, the moment from which it answers."""
    match kind:
        case "frozen":
            server.freeze()
            time.sleep(seconds)
            back = time.monotonic()
            server.thaw()
            return back
        case "killed":
            server.end(kill=True)
            time.sleep(seconds)
            server.start()
            return time.monotonic()


def _resumption(drain: _Drain, *, since: float) -> float:
    """When the first handler began after that moment."""
    deadline = time.monotonic() + _REST_SECONDS
    while time.monotonic() < deadline:
        if later := [one.at for one in drain.pool.journal.read() if one.begins and one.at > since]:
            return later[0]
        time.sleep(0.02)
    raise BenchmarkError("no handler began after Redis was back")
