"""The workers that are compared, and how each is started."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from benchmarks import launch
from benchmarks.failure import BenchmarkError
from benchmarks.server import Server
from benchmarks.tasks import WORKER, fill
from devcluster.progress import say

HACK: Final = Path(__file__).parent.parent
PEERS: Final = Path(__file__).parent / "peers"

OURS: Final = "opsagent"
OWN_COMMAND: Final = (sys.executable, "-m", "opsagent_worker")
CONCURRENCY: Final = 32
"""Tasks at once in one process of ours, and of each worker that has such a number."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A worker to measure."""

    name: str
    label: str
    """What tables call it."""
    tasks: int
    """No-op tasks of one throughput round: fewer for slower ones, so that none takes for ever."""
    setup: str
    """How it runs, in a few words."""
    arguments: Sequence[str]
    """Of the Python that runs the worker."""

    @cached_property
    def script(self) -> Path:
        return PEERS / f"with_{self.name}.py"

    @cached_property
    def python(self) -> str:
        """The interpreter of the environment that holds the library; made on first use."""
        return sys.executable if self.name == OURS else _interpreter(self.script)

    @cached_property
    def versions(self) -> str:
        """Of the library, its Redis client, and Python."""
        program = (
            "import sys, importlib.metadata as m\n"
            "for name in sys.argv[1:]:\n"
            "    try: print(name, m.version(name), end=' · ')\n"
            "    except m.PackageNotFoundError: pass\n"
            "print('Python', sys.version.split()[0])"
        )
        names = ("opsagent-worker", "celery", "taskiq", "arq", "dramatiq", "streaq", "ardiq")
        asked = [self.python, "-c", program, *names, "redis", "coredis", "uvloop"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    def command(self) -> Sequence[str]:
        return [self.python, *self.arguments]

    def environment(self, server: Server, tally: Path) -> Mapping[str, str]:
        """What worker and producer are told through their environment."""
        common = {"BENCHMARK_REDIS_URL": server.url, "BENCHMARK_TALLY": str(tally)}
        return {**common, **own_settings(server)} if self.name == OURS else common

    def enqueue(self, server: Server, tally: Path) -> None:
        """Put this round's tasks into the queue, before the worker starts."""
        if self.name == OURS:
            with server.client() as redis:
                fill(redis, self.tasks, type_="noop")
        else:
            self._produce(server, tally, "enqueue", f"{self.tasks}")

    def trickle(self, server: Server, tally: Path, *, rate: float, seconds: float) -> None:
        """Enqueue tasks one by one with the library's own call; returns when all are sent."""
        self._produce(server, tally, "trickle", f"{rate}", f"{seconds}")

    def _produce(self, server: Server, tally: Path, *arguments: str) -> None:
        launch.run(
            [self.python, str(self.script), *arguments],
            environment=self.environment(server, tally),
            folder=PEERS,
        )


def own_settings(server: Server) -> Mapping[str, str]:
    """Our worker's environment: the handlers of this package, slots for short tasks, a free port."""
    return {
        "PYTHONPATH": os.pathsep.join([str(HACK), *_inherited("PYTHONPATH")]),
        "WORKER_HANDLERS": "benchmarks.handlers",
        "REDIS_URL": server.url,
        "WORKER_BUILTINS": "none",
        "OPSAGENT_WORKER": WORKER,
        "OPSAGENT_CONCURRENCY": f"{CONCURRENCY}",
        "OPSAGENT_HTTP_PORT": "0",
    }


def _inherited(name: str) -> list[str]:
    return [value] if (value := os.environ.get(name)) else []


ALL: Final = (
    Contender(
        name=OURS,
        label="this worker",
        tasks=20_000,
        setup="one process, 32 slots; leases, JSON logs at INFO, metrics, events and results on",
        arguments=OWN_COMMAND[1:],
    ),
    Contender(
        name="celery",
        label="Celery",
        tasks=5_000,
        setup="two prefork processes, prefetch multiplier 64, Redis results",
        arguments=(*("-m", "celery", "-A", "with_celery", "worker"), "--loglevel=INFO", "-c2"),
    ),
    Contender(
        name="taskiq",
        label="taskiq",
        tasks=10_000,
        setup="one process on uvloop, 32 tasks at once, stream broker, Redis results",
        arguments=(
            *("-m", "taskiq", "worker", "with_taskiq:broker"),
            *("--workers=1", f"--max-async-tasks={CONCURRENCY}", "--log-level=INFO"),
        ),
    ),
    Contender(
        name="taskiq_list",
        label="taskiq, list",
        tasks=10_000,
        setup="the same with the list broker, which loses what it runs when it dies, and no results",
        arguments=(
            *("-m", "taskiq", "worker", "with_taskiq_list:broker"),
            *("--workers=1", f"--max-async-tasks={CONCURRENCY}", "--log-level=INFO"),
        ),
    ),
    Contender(
        name="arq",
        label="arq",
        tasks=8_000,
        setup="one process, 32 jobs at once, polls every 10 ms, reads up to 1,000 ids",
        arguments=("-m", "arq", "with_arq.WorkerSettings"),
    ),
    Contender(
        name="dramatiq",
        label="Dramatiq",
        tasks=10_000,
        setup="one process, 32 threads, no results",
        arguments=(
            *("-m", "dramatiq", "with_dramatiq"),
            *("--processes=1", f"--threads={CONCURRENCY}"),
        ),
    ),
    Contender(
        name="streaq",
        label="streaQ",
        tasks=8_000,
        setup="one process, 32 tasks at once",
        arguments=("-m", "streaq", "run", "with_streaq:worker"),
    ),
    Contender(
        name="ardiq",
        label="ArdiQ",
        tasks=20_000,
        setup="one process with a Rust core, 32 tasks at once",
        arguments=("-m", "ardiq", "run", "with_ardiq:app"),
    ),
)


def chosen(names: Iterable[str]) -> list[Contender]:
    """Those of these names, ours first; all if no name is given. Leaves out what cannot run here.

    Raises BenchmarkError for a name that is none.
    """
    wanted = set(names) or {one.name for one in ALL}
    if unknown := wanted - {one.name for one in ALL}:
        known = ", ".join(one.name for one in ALL)
        raise BenchmarkError(f"no such worker: {', '.join(sorted(unknown))}; there are {known}")
    return [one for one in ALL if one.name in wanted and _can_run(one)]


def _can_run(contender: Contender) -> bool:
    try:
        _ = contender.python
    except BenchmarkError as error:
        say(f"{contender.label} is left out: {error}")
        return False
    return True


def _interpreter(script: Path) -> str:
    """Python of the script's locked environment, which uv keeps in its cache."""
    uv = shutil.which("uv") or os.environ.get("UV")
    if uv is None:
        raise BenchmarkError("uv is not on the PATH")
    reason = ""
    for python in (None, *_other_pythons()):
        asked = [] if python is None else ["--python", python]
        synced = _uv(uv, "sync", "--script", str(script), "--locked", "--quiet", *asked)
        if synced.returncode == 0:
            found = _uv(uv, "python", "find", "--script", str(script))
            return found.stdout.strip()
        reason = reason or synced.stderr.strip()
    raise BenchmarkError(f"uv cannot make its environment: {reason}")


def _uv(uv: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The environment of this process belongs to another project.
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    return subprocess.run(
        [uv, *arguments],
        env={**environment, "UV_PYTHON_DOWNLOADS": "automatic"},
        capture_output=True,
        text=True,
        check=False,
    )


def _other_pythons() -> list[str]:
    """Interpreters that pyenv installed, newest first: a library may need another than ours."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [path for path in root.glob("versions/3.*/bin/python3") if path.is_file()]
    return [str(path) for path in sorted(found, key=_version, reverse=True)]


def _version(python: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in python.parts[-3].split(".") if part.isdigit())
