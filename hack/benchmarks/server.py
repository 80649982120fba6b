"""A Redis of a measurement's own, and what it says about the work it did."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks.failure import BenchmarkError
from devcluster import debian

_READY_SECONDS = 30.0
"""Loading an append-only file of a long run takes a moment."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a server did between two moments."""

    seconds: float
    """CPU, all threads."""
    commands: Mapping[str, int]
    """Calls by command, those inside scripts included."""
    requests: int
    """Times it read from a connection: a pipeline or a script is one."""
    microseconds: Mapping[str, float]
    """Time spent in each command; a script's holds that of the commands inside it."""

    @property
    def executed(self) -> int:
        """Commands in all, those inside scripts included."""
        return sum(self.commands.values())


@dataclass(frozen=True, kw_only=True)
class _Reading:
    seconds: float
    requests: int
    calls: Mapping[str, int]
    microseconds: Mapping[str, float]


class Server:
    """One redis-server on a free loopback port, ended by its own handle."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, or start again with the data it had; returns once it answers."""
        program = os.environ.get("REDIS_SERVER") or debian.ensure(["redis-server"])["redis-server"]
        self._process = subprocess.Popen(
            [
                program,
                *("--bind", "127.0.0.1", "--port", str(self.port), "--daemonize", "no"),
                *("--dir", str(self._folder), "--logfile", str(self._folder / "redis.log")),
                *("--save", "", *self._options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                log = (self._folder / "redis.log").read_text(errors="replace")[-1000:]
                raise BenchmarkError(f"redis-server did not start; its log ends with:\n{log}")
            time.sleep(0.005)

    def end(self, *, kill: bool = False) -> None:
        """End it, as a crash would with `kill`."""
        process, self._process = self._process, None
        if process is not None:
            # A stopped process takes no notice of SIGTERM until it goes on.
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            process.wait(timeout=_READY_SECONDS)

    def freeze(self) -> None:
        """Let it accept connections and answer nothing, as a hung machine would."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """A client that decodes responses; the caller closes it."""
        return redis.Redis("127.0.0.1", self.port, decode_responses=True, socket_timeout=30)

    @contextmanager
    def working(self) -> Iterator["Meter"]:
        """Measure what the server does in the block."""
        with self.client() as client:
            yield Meter(client)

    def version(self) -> str:
        with self.client() as client:
            return str(client.info("server")["redis_version"])

    def _answers(self) -> bool:
        with redis.Redis(
            "127.0.0.1", self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)
        ) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise BenchmarkError("this Redis does not run")
        self._process.send_signal(number)


class Meter:
    """Reads a server's own statistics from its start on."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._before = self._read()

    def so_far(self) -> Work:
        """What the server did since the start; reading the statistics is left out."""
        now, before = self._read(), self._before
        names = set(now.calls) - {"info"}
        return Work(
            seconds=now.seconds - before.seconds,
            requests=now.requests - before.requests - 1,
            commands={
                name: calls
                for name in names
                if (calls := now.calls[name] - before.calls.get(name, 0)) > 0
            },
            microseconds={
                name: now.microseconds[name] - before.microseconds.get(name, 0.0) for name in names
            },
        )

    def _read(self) -> _Reading:
        info = self._client.info("everything")
        calls = {name: found for name, found in info.items() if name.startswith("cmdstat_")}
        return _Reading(
            seconds=float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
            requests=int(info["total_reads_processed"]),
            calls={
                name.removeprefix("cmdstat_"): int(found["calls"]) for name, found in calls.items()
            },
            microseconds={
                name.removeprefix("cmdstat_"): float(found["usec"]) for name, found in calls.items()
            },
        )


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """An empty Redis that keeps nothing on disk unless `options` say so."""
    with tempfile.TemporaryDirectory(prefix="benchmark-redis-") as folder:
        server = Server(Path(folder), *options)
        server.start()
        try:
            yield server
        finally:
            server.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
