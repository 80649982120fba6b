"""Whether a worker's memory grows with the number of tasks it has run."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks import launch
from benchmarks.contenders import HACK, OWN_COMMAND, own_settings
from benchmarks.peers.tally import Reading
from benchmarks.samples import median
from benchmarks.server import running
from benchmarks.tasks import KEYS, fill

WARM_UP = 0.2
"""Share of the tasks after which growth is looked for: until then caches and pools fill."""

_SAMPLES = 20
_PORTION = 5_000
_STUCK_SECONDS = 60.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    done: int
    worker_mib: float
    """Proportional set size."""
    redis_mib: float
    """What Redis says it uses."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    tasks: int
    seconds: float
    samples: list[Sample]

    @property
    def growth_mib(self) -> float:
        """From the first third of the samples after the warm-up to the last third, medians of both.

        Single samples differ by some MiB, as garbage is collected when Python sees fit.
        """
        warm = [one.worker_mib for one in self.samples if one.done >= WARM_UP * self.tasks]
        third = max(1, len(warm) // 3)
        return median(warm[-third:]) - median(warm[:third])


def measure(*, tasks: int, progress: Callable[[int], object]) -> Memory:
    """Run so many no-op tasks through one worker; `progress` hears how many are done.

    A backlog is kept up meanwhile. Records expire after ten seconds, so that Redis' memory is at rest too.
    """
    with running() as server, tempfile.TemporaryDirectory(prefix="benchmark-tally-") as folder:
        tally = Path(folder)
        environment = {
            **own_settings(server),
            "OPSAGENT_RESULT_TTL": "10s",
            "BENCHMARK_TALLY": str(tally),
        }
        began, samples, sent = time.monotonic(), list[Sample](), 0
        with (
            server.client() as redis,
            launch.launched(OWN_COMMAND, environment=environment, folder=HACK) as worker,
        ):
            for number in range(1, _SAMPLES + 1):
                wanted = tasks * number // _SAMPLES
                deadline = time.monotonic() + _STUCK_SECONDS
                while (done := Reading(tally).count) < wanted:
                    if sent < tasks and int(redis.zcard(KEYS.tasks)) < _PORTION:
                        portion = min(_PORTION, tasks - sent)
                        fill(redis, portion, type_="noop")
                        sent += portion
                        deadline = time.monotonic() + _STUCK_SECONDS
                    worker.until(
                        lambda done=done: Reading(tally).count > done,  # type: ignore[misc]
                        seconds=deadline - time.monotonic(),
                        what="further tasks",
                    )
                progress(done)
                samples.append(
                    Sample(
                        done=done,
                        worker_mib=worker.tree.memory_bytes() / 2**20,
                        redis_mib=int(redis.info("memory")["used_memory"]) / 2**20,
                    )
                )
        return Memory(tasks=tasks, seconds=time.monotonic() - began, samples=samples)
