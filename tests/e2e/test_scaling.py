"""From no worker to many and back, and what the user sees of it."""

from collections.abc import Callable

import pytest

from demo.scenes import Show
from demo.screen import Frame
from demo.view import WorkerView
from demo.workload import workload
from e2e.arena import CONCURRENCY, MAX_REPLICAS, NAME, Arena

pytestmark = pytest.mark.e2e


class Recording:
    """A screen that remembers; `at_the_top` is called whenever all workers are seen to be ready."""

    def __init__(self, at_the_top: Callable[[], None]) -> None:
        self.frames: list[Frame] = []
        self._at_the_top = at_the_top

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.worker.ready == MAX_REPLICAS:
            self._at_the_top()

    @property
    def workers(self) -> list[WorkerView]:
        return [frame.worker for frame in self.frames]


def test_tasks_that_arrive_at_zero_bring_workers_up_and_all_of_them_go_again(arena: Arena) -> None:
    arena.create_resting_worker()
    show = Show(
        kubectl=arena.kubectl,
        redis=arena.redis,
        namespace=arena.namespace,
        name=NAME,
        prefix=arena.prefix,
    )
    recording, tasks = Recording(arena.release), workload(arena.backing.sandbox_url)
    # They keep all workers needed until all have come, however long the last one takes.
    arena.enqueue(*(arena.hold() for _ in range(MAX_REPLICAS * CONCURRENCY - 1)))

    summary = show.run(tasks, recording)

    assert not summary.complaints
    assert summary.tally.final == set(tasks.ours)
    assert set(summary.tally.failed) == tasks.doomed
    assert summary.first_start is not None
    assert summary.most_workers == MAX_REPLICAS
    assert max(worker.desired for worker in recording.workers) == MAX_REPLICAS
    assert (recording.workers[-1].desired, recording.workers[-1].pods) == (0, 0)


def test_the_columns_tell_what_is_there(arena: Arena) -> None:
    arena.create_resting_worker()
    waiting = 1
    running = MAX_REPLICAS * CONCURRENCY
    arena.enqueue_at_once(*(arena.hold() for _ in range(running + waiting)))
    arena.until_started(running)

    def columns() -> dict[str, str]:
        header, line = arena.run("get", "oaw").splitlines()
        return dict(zip(header.split(), line.split(), strict=True))

    expected = {
        "NAME": NAME,
        "VERSION": arena.spec["version"],
        "READY": f"{MAX_REPLICAS}/{MAX_REPLICAS}",
        "QUEUE": str(waiting),
        "IN-FLIGHT": str(running),
        "STATUS": "Running",
    }
    arena.until(lambda: columns().items() >= expected.items(), "the columns to tell what is there")
    assert list(columns()) == [*expected, "AGE"]

    described = arena.run("describe", "oaw", NAME)
    assert f"capped at maxReplicas {MAX_REPLICAS}" in described
    for reason in ("RevisionCreated", "Promoted", "ScaledUp"):
        assert reason in described

    arena.release()
    arena.until_done()


def test_kubectl_wait_returns_when_the_first_version_is_ready(arena: Arena) -> None:
    arena.create_secret()
    arena.create_worker()
    arena.run("wait", "--for=condition=Ready", f"oaw/{NAME}", "--timeout=60s")
    assert arena.condition("Ready")["status"] == "True"


def test_kubectl_scale_fixes_the_number_of_workers_until_it_is_taken_back(arena: Arena) -> None:
    arena.create_resting_worker()
    arena.run("scale", f"oaw/{NAME}", "--replicas=2")
    arena.until_ready(2)
    assert arena.condition("ScalingActive")["reason"] == "FixedReplicas"
    arena.patch(replicas=None)
    arena.until_at_rest()
    assert arena.condition("ScalingActive")["status"] == "True"
