"""A pool of our worker's processes, each ended and replaced as an orchestrator of pods would."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.contenders import HACK, OWN_COMMAND, own_settings
from benchmarks.failure import BenchmarkError
from benchmarks.journal import Journal
from benchmarks.launch import Worker
from benchmarks.server import Server

_START_SECONDS = 60.0


@dataclass
class Pool:
    """`size` workers that run the `timed` handler."""

    size: int
    environment: Mapping[str, str]
    journal: Journal
    workers: list[Worker] = field(default_factory=list)

    def start(self) -> None:
        """Returns when each has begun a task."""
        self.workers = [self._launch() for _ in range(self.size)]
        self.wait_until_all_work()

    def wait_until_all_work(self) -> None:
        """Raises BenchmarkError if some worker does not."""
        for worker in self.workers:
            worker.until(
                partial(self._works, worker),
                seconds=_START_SECONDS,
                what="each worker's first task",
            )

    def at_work(self) -> list[Worker]:
        """Workers that have begun a task since their start."""
        self.journal.read()
        return [worker for worker in self.workers if worker.pid in self.journal.running]

    def kill(self, worker: Worker) -> float:
        """End it the hard way and start another; returns when it happened."""
        worker.signal(signal.SIGKILL)
        worker.wait(10)
        at = time.monotonic()
        self._replace(worker)
        return at

    def terminate(self, worker: Worker, *, patience: float) -> tuple[float, float]:
        """Ask it to end and start another at once; returns when, and the seconds until it had ended."""
        at = time.monotonic()
        worker.signal(signal.SIGTERM)
        self._replace(worker)
        code = worker.wait(patience)
        took = time.monotonic() - at
        if code != 0:
            raise BenchmarkError(f"a worker ended with {code} on SIGTERM:\n{worker.last_words}")
        return at, took

    def _replace(self, worker: Worker) -> None:
        self.workers[self.workers.index(worker)] = self._launch()

    def _launch(self) -> Worker:
        return Worker(OWN_COMMAND, environment=self.environment, folder=HACK)

    def _works(self, worker: Worker) -> bool:
        self.journal.read()
        return worker.pid in self.journal.running


@contextmanager
def pool(server: Server, folder: Path, *, lease: str, slots: int, size: int = 2) -> Iterator[Pool]:
    """Not started yet; ended with the block. `lease` is written as in OPSAGENT_LEASE."""
    file = folder / "journal"
    environment = {
        **own_settings(server),
        "OPSAGENT_LEASE": lease,
        "OPSAGENT_CONCURRENCY": f"{slots}",
        "BENCHMARK_JOURNAL": str(file),
    }
    made = Pool(size=size, environment=environment, journal=Journal(file))
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.end()
