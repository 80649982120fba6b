"""What dies by SIGKILL takes no task along."""

import random
import time
from collections.abc import Mapping
from typing import Any

import pytest

from demo.backing import Backing
from e2e.arena import CONCURRENCY, MAX_REPLICAS, NAME, Arena
from e2e.crash import kill_container
from e2e.operator_pod import OperatorPod

pytestmark = pytest.mark.e2e

LONGEST_SCALE_UP = 4.0
"""Seconds, about: from the first task to the last worker on two cores."""


def end_state(arena: Arena) -> Mapping[str, Any]:
    """What is there in the end, without what differs between any two runs (names, times, uids)."""
    return {
        "deployments": {
            deployment["metadata"]["name"]: deployment["spec"]["replicas"]
            for deployment in arena.items("deployments")
        },
        "revisions": {
            revision["metadata"]["name"]: revision["revision"]
            for revision in arena.items("controllerrevisions")
            if revision["metadata"]["labels"].get("opsagent.dev/worker") == NAME
        },
        "pods": len(arena.pods()),
        "conditions": {
            condition["type"]: (condition["status"], condition["reason"])
            for condition in arena.read("get", "opsagentworker", NAME)["status"]["conditions"]
        },
    }


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5])
def test_an_operator_killed_during_a_scale_up_changes_nothing_of_its_outcome(
    arena: Arena, operator_pod: OperatorPod, moment: int
) -> None:
    arena.create_resting_worker()
    at_rest = end_state(arena)
    arena.enqueue(*(arena.hold() for _ in range(MAX_REPLICAS * CONCURRENCY)))

    # A moment by chance, not a wait for anything.
    time.sleep(random.Random(moment).uniform(0, LONGEST_SCALE_UP))  # noqa: S311 - no secret
    operator_pod.kill()

    operator_pod.until_restarted()
    arena.until_ready(MAX_REPLICAS)
    arena.until_started(MAX_REPLICAS * CONCURRENCY)
    arena.release()
    arena.until_done()
    assert set(arena.journal("started").values()) == {1}
    arena.until_at_rest()
    assert end_state(arena) == at_rest


def test_tasks_of_a_killed_worker_come_back_and_are_counted(arena: Arena) -> None:
    arena.create_resting_worker(worker={**arena.spec["worker"], "lease": "5s"})
    arena.enqueue(*(arena.hold() for _ in range(MAX_REPLICAS * CONCURRENCY)))
    arena.until_started(MAX_REPLICAS * CONCURRENCY)
    arena.until_ready(MAX_REPLICAS)
    owners = arena.owners()
    victim = owners[arena.tasks[0]]
    struck = {task_id for task_id, owner in owners.items() if owner == victim}

    kill_container(arena.stage.provider, namespace=arena.namespace, pod=victim)

    arena.until(
        lambda: set(arena.journal("abandoned")) == struck, "the killed worker to have let go"
    )
    arena.until(lambda: arena.counted("rescued") == len(struck), "its tasks to be rescued")
    arena.release()
    tally = arena.until_done()
    assert tally.completed == set(arena.tasks)
    begun = arena.journal("started")
    assert {task_id for task_id, times in begun.items() if times > 1} == struck
    # Nothing was begun twice without being counted.
    assert begun.total() - len(arena.tasks) == arena.counted("rescued")
    assert arena.journal("answered").total() == len(arena.tasks)


def test_a_killed_redis_comes_back_with_every_task(arena: Arena) -> None:
    own = Backing(provider=arena.stage.provider, namespace=arena.namespace)
    own.deploy(arena.stage.images.references)
    with own.redis() as redis:
        arena = Arena(stage=arena.stage, redis=redis, namespace=arena.namespace, backing=own)
        # Longer than the outage: what a worker holds stays its own, and so nothing is begun twice.
        arena.create_resting_worker(worker={**arena.spec["worker"], "lease": "2m"})
        arena.enqueue(*(arena.work(seconds=1) for _ in range(12)))
        arena.enqueue(*(arena.hold() for _ in range(CONCURRENCY)))
        arena.until(lambda: len(arena.tally().completed) >= 2, "some tasks to be done")
    tasks = arena.tasks

    pod = next(
        pod["metadata"]["name"]
        for pod in arena.items("pods")
        if pod["metadata"]["labels"].get("app") == "redis"
    )
    kill_container(arena.stage.provider, namespace=arena.namespace, pod=pod)

    arena.run("wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", f"pod/{pod}")
    arena.run("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=60s")
    with own.redis() as redis:
        arena = Arena(
            stage=arena.stage, redis=redis, namespace=arena.namespace, backing=own, tasks=tasks
        )
        arena.release()
        tally = arena.until_done()
        assert tally.completed == set(tasks)
        assert set(arena.journal("started").values()) == {1}
        assert arena.counted("rescued") == 0
        arena.until(
            lambda: arena.condition("QueueReachable")["status"] == "True", "the queue to be seen"
        )
        arena.until_at_rest()
