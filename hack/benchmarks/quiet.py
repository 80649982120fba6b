"""A worker with little to do: how soon a task starts, and what waiting for one costs."""

import socket
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks import launch
from benchmarks.contenders import PEERS, Contender
from benchmarks.peers.tally import Reading
from benchmarks.server import Server, running

RATE = 50.0
"""Tasks per second."""

_PATIENCE_SECONDS = 30.0
_SETTLE_SECONDS = 2.0
"""What a worker does after its start, such as registering, is no part of waiting."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, first idle, then with 50 tasks a second."""

    contender: str
    idle_seconds: float
    idle_requests_per_second: float
    """Commands that arrive at Redis over connections."""
    idle_commands_per_second: float
    """The same and the commands inside scripts."""
    idle_cpu_percent: float
    """Of one core, the worker's processes."""
    latencies_ms: list[float]
    """From the producer's call to the first line of the handler."""


def measure(contender: Contender, *, idle_seconds: float, trickle_seconds: float) -> Round:
    """One round. Raises BenchmarkError if the worker does not start or loses a task."""
    with running() as server, tempfile.TemporaryDirectory(prefix="benchmark-tally-") as folder:
        tally = Path(folder)
        with launch.launched(
            contender.command(), environment=contender.environment(server, tally), folder=PEERS
        ) as worker:
            # One task ahead of all others: it shows that the worker works, and warms it up.
            contender.trickle(server, tally, rate=1, seconds=1)
            worker.until(
                lambda: Reading(tally).count == 1, seconds=_PATIENCE_SECONDS, what="the first task"
            )
            time.sleep(_SETTLE_SECONDS)
            cpu = worker.tree.cpu_seconds()
            requests, commands = watch(server, seconds=idle_seconds)
            cpu = worker.tree.cpu_seconds() - cpu
            contender.trickle(server, tally, rate=RATE, seconds=trickle_seconds)
            sent = round(RATE * trickle_seconds)
            worker.until(
                lambda: Reading(tally).count >= 1 + sent,
                seconds=_PATIENCE_SECONDS,
                what=f"{sent} tasks",
            )
            _warm_up, *latencies = Reading(tally).latencies()
    return Round(
        contender=contender.name,
        idle_seconds=idle_seconds,
        idle_requests_per_second=requests / idle_seconds,
        idle_commands_per_second=commands / idle_seconds,
        idle_cpu_percent=100 * cpu / idle_seconds,
        latencies_ms=[1000 * one for one in latencies],
    )


def watch(server: Server, *, seconds: float) -> tuple[int, int]:
    """Commands that reach Redis over connections, and those with the ones inside scripts (MONITOR)."""
    deadline = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"MONITOR\r\n")
        received = b""
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                received += connection.recv(1 << 16)
            except TimeoutError:
                break
    # The first line only says that MONITOR is on. A line: +TIME [DB CLIENT] "COMMAND" …
    lines = received.split(b"\r\n")[1:-1]
    inside = sum(line.split(b" ", 3)[2] == b"lua]" for line in lines)
    return len(lines) - inside, len(lines)
