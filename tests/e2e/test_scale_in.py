"""Fewer workers, and no task notices: real pods, judged by the records and by what the tasks called."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from e2e.arena import CONCURRENCY, NAME, Arena

pytestmark = pytest.mark.e2e


def start(arena: Arena, workers: int, **worker: Any) -> None:
    """Create an object with a fixed number of workers, all ready."""
    arena.create_secret()
    arena.create_worker(replicas=workers, worker={**arena.spec["worker"], **worker})
    arena.until_ready(workers)


def occupy(arena: Arena, count: int) -> frozenset[str]:
    """Give tasks that are held to workers until just `count` of them are busy; returns who that is."""
    for started in range(1, CONCURRENCY * count + 1):
        arena.enqueue(arena.hold())
        arena.until_started(started)
        if len(busy := frozenset(arena.owners().values())) == count:
            return busy
    pytest.fail(f"no {count} workers are busy: {arena.owners()}")


def scale(arena: Arena, workers: int) -> None:
    arena.run("scale", f"oaw/{NAME}", f"--replicas={workers}")


def until_pods(arena: Arena, wanted: Callable[[frozenset[str]], bool], what: str) -> frozenset[str]:
    return arena.until(lambda: pods if wanted(pods := frozenset(arena.pods())) else None, what)


def decision(arena: Arena) -> Mapping[str, Any]:
    found: Mapping[str, Any] = arena.read("get", "opsagentworker", NAME)["status"]["decision"]
    return found


def until_draining(arena: Arena) -> str:
    """What the object says while it waits for busy workers."""

    def waiting() -> str | None:
        last = decision(arena)
        waits = last["reason"] == "Draining" and "to finish" in last["message"]
        return str(last["message"]) if waits else None

    return arena.until(waiting, "the object to say for whom it waits")


def end(arena: Arena) -> None:
    """Let all tasks end; each was begun once, answered once, and nobody dropped it in between."""
    arena.release()
    arena.until_done()
    once = dict.fromkeys(arena.tasks, 1)
    assert arena.journal("started") == once
    assert arena.journal("answered") == once
    assert not arena.journal("abandoned")


def test_the_idle_go_and_the_busy_finish_what_they_run(arena: Arena) -> None:
    start(arena, 4)
    busy = occupy(arena, 2)
    scale(arena, 2)
    left = until_pods(arena, lambda pods: len(pods) <= len(busy), "two workers to go")
    assert left == busy
    arena.until_ready(2)
    assert arena.owners().keys() == set(arena.tasks)
    end(arena)


def test_busy_workers_are_waited_for_and_go_when_they_have_finished(arena: Arena) -> None:
    start(arena, 2)
    busy = occupy(arena, 2)
    scale(arena, 1)
    message = until_draining(arena)
    (victim,) = [pod for pod in busy if pod in message]
    assert frozenset(arena.pods()) == busy
    end(arena)
    left = until_pods(arena, lambda pods: len(pods) <= 1, "the worker to go")
    assert left == busy - {victim}


def test_more_work_calls_it_off_and_the_chosen_one_takes_tasks_again(arena: Arena) -> None:
    start(arena, 2)
    before = occupy(arena, 2)
    scale(arena, 1)
    until_draining(arena)
    scale(arena, 2)
    everything = CONCURRENCY * 2
    arena.enqueue(*(arena.hold() for _ in range(everything - len(arena.tasks))))
    arena.until_started(everything)
    assert frozenset(arena.owners().values()) == before == frozenset(arena.pods())
    end(arena)


def test_a_worker_that_never_becomes_idle_hands_its_tasks_over_in_the_end(arena: Arena) -> None:
    start(arena, 2, drainTimeout="2s")
    busy = occupy(arena, 2)
    held = arena.owners()
    scale(arena, 1)
    (stays,) = until_pods(arena, lambda pods: len(pods) <= 1, "the worker to go")
    assert stays in busy
    arena.until(
        lambda: set(arena.owners().values()) == {stays}, "the one that goes to hand its tasks back"
    )
    arena.release()
    tally = arena.until_done()
    assert not tally.failed
    handed_over = {task for task, owner in held.items() if owner != stays}
    assert arena.journal("started") == {
        task: 2 if task in handed_over else 1 for task in arena.tasks
    }
    assert arena.counted("rescued") == 0, "handed back, and not missed until its lease expired"
