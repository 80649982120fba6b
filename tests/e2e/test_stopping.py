"""Pausing, draining and deleting: what runs may finish, and nothing stays behind."""

import pytest

from e2e.arena import CONCURRENCY, NAME, Arena
from e2e.operator_pod import OperatorPod

pytestmark = pytest.mark.e2e


def test_paused_lets_running_tasks_finish_and_starts_no_other(arena: Arena) -> None:
    arena.create_resting_worker()
    running = arena.enqueue(*(arena.hold() for _ in range(CONCURRENCY)))
    arena.until_started(CONCURRENCY)
    arena.patch(paused=True)
    arena.until(lambda: arena.condition("Paused")["status"] == "True", "the pause to be confirmed")

    late = arena.enqueue(arena.work(seconds=0.1))
    arena.release()
    arena.until(lambda: arena.tally().completed == set(running), "running tasks to finish")
    arena.until(lambda: not arena.pods(), "the workers to go")
    assert arena.tally().waiting == set(late)
    assert not arena.journal("started")[late[0]]

    arena.patch(paused=False)
    assert arena.until_done().completed == {*running, *late}


def test_a_worker_told_to_stop_finishes_its_task_first(arena: Arena) -> None:
    arena.create_resting_worker(worker={**arena.spec["worker"], "drainTimeout": "10m"})
    (held,) = arena.enqueue(arena.hold())
    arena.until_started(1)
    owner = arena.owners()[held]

    arena.run("delete", "pod", owner, "--wait=false")
    arena.until(lambda: owner not in arena.pods(), "the pod to be on its way out")
    # A new worker is ready: the task could run there, if the old one let go of it.
    arena.until_ready(1)
    assert arena.owners()[held] == owner
    arena.release()

    assert arena.until_done().completed == {held}
    assert arena.journal("answered")[held] == arena.journal("started")[held] == 1
    assert arena.counted("rescued") == 0
    arena.until(
        lambda: owner not in {pod["metadata"]["name"] for pod in arena.items("pods")},
        "the drained pod to be gone",
    )


def expect_no_children(arena: Arena) -> None:
    arena.until(
        lambda: not arena.items("deployments") and not arena.items("pods"),
        "deployments and pods to be gone",
    )
    arena.until(
        lambda: not arena.read("get", "controllerrevisions")["items"], "revisions to be gone"
    )


def test_deleting_the_object_removes_all_it_had_after_running_tasks_have_ended(
    arena: Arena,
) -> None:
    arena.create_resting_worker()
    arena.enqueue(arena.work(seconds=2))
    arena.until_started(1)
    arena.run("delete", "oaw", NAME, "--timeout=30s")
    expect_no_children(arena)
    assert arena.until_done().completed == set(arena.tasks)


def test_deleting_the_object_needs_no_operator(arena: Arena, operator_pod: OperatorPod) -> None:
    arena.create_resting_worker()
    arena.enqueue(arena.work(seconds=2))
    arena.until_started(1)
    with operator_pod.away():
        arena.run("delete", "oaw", NAME, "--timeout=30s")
        expect_no_children(arena)
    assert arena.until_done().completed == set(arena.tasks)
