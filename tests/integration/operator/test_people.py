"""People, and programs of theirs, who take the number of workers into their own hands."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from integration.operator.world import WORKER, World, eventually

pytestmark = pytest.mark.integration

AUTOSCALER_SECONDS = 90.0
"""A HorizontalPodAutoscaler looks every 15 seconds; this is many times that."""
CORRECTION_SECONDS = 10.0
"""At most one write in this time sets back what somebody changes by hand."""


@pytest.fixture
def world(shared_world: World) -> World:
    return shared_world


def settle(world: World, *, tasks: int, **spec: Any) -> None:
    """Create an object with a worker for each of `tasks`."""
    world.enqueue(tasks)
    world.create(**spec)
    world.until_replicas({"v1.0.0": tasks})
    world.until_condition("Ready", "True", "Running")


def until_visited(world: World, *, times: int = 3) -> None:
    visits = world.operator.metric("controller_runtime_reconcile_total")
    eventually(
        lambda: world.operator.metric("controller_runtime_reconcile_total") >= visits + times
    )


# The number is theirs.


@pytest.mark.parametrize("wanted", [5, 1])
def test_kubectl_scale_wins_over_the_queue_until_it_is_taken_back(
    world: World, wanted: int
) -> None:
    settle(world, tasks=3)
    world.run("scale", f"oaw/{WORKER}", f"--replicas={wanted}")
    world.until_replicas({"v1.0.0": wanted})
    told = world.until_condition("ScalingActive", "False", "FixedReplicas")
    assert f"holds {wanted}; remove it" in told["message"]

    with world.numbers() as numbers:
        world.enqueue(1)
        eventually(lambda: world.worker()["status"]["queue"]["pending"] == 4)
        until_visited(world)
    assert numbers == [wanted]

    world.patch(replicas=None)
    world.until_replicas({"v1.0.0": 4})
    world.until_condition("ScalingActive", "True", "QueueDepth")


def test_a_pause_outranks_a_fixed_number_which_holds_again_after_it(world: World) -> None:
    settle(world, tasks=3)
    world.run("scale", f"oaw/{WORKER}", "--replicas=2")
    world.until_replicas({"v1.0.0": 2})
    world.patch(paused=True)
    world.until_replicas({"v1.0.0": 0})
    world.run("scale", f"oaw/{WORKER}", "--replicas=4")
    until_visited(world)
    assert world.replicas() == {"v1.0.0": 0}
    world.patch(paused=False)
    world.until_replicas({"v1.0.0": 4})


def test_a_horizontal_pod_autoscaler_may_drive_the_number(world: World) -> None:
    """It begins once there is a number, and without metrics it still keeps to its bounds."""
    settle(world, tasks=1)
    target = {"apiVersion": "opsagent.dev/v1alpha1", "kind": "OpsAgentWorker", "name": WORKER}

    def autoscale(fewest: int, most: int) -> None:
        world.kubectl.apply(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "theirs", "namespace": world.namespace},
                "spec": {"scaleTargetRef": target, "minReplicas": fewest, "maxReplicas": most},
            }
        )

    def follows(number: int) -> bool:
        return bool(
            world.worker()["spec"]["replicas"] == number
            and world.replicas() == {"v1.0.0": number}
            and world.get("hpa")[0]["status"].get("currentReplicas") == number
        )

    def reasons() -> set[str]:
        status = world.get("hpa")[0].get("status", {})
        return {condition["reason"] for condition in status.get("conditions", [])}

    autoscale(4, 6)
    eventually(lambda: "FailedGetScale" in reasons(), seconds=AUTOSCALER_SECONDS)
    world.run("scale", f"oaw/{WORKER}", "--replicas=1")
    eventually(lambda: follows(4), seconds=AUTOSCALER_SECONDS)
    autoscale(1, 2)
    eventually(lambda: follows(2), seconds=AUTOSCALER_SECONDS)

    world.run("delete", "hpa", "theirs")
    world.patch(replicas=None)
    world.until_replicas({"v1.0.0": 1})


# The number is ours, and they change what we made of it.


def test_who_keeps_changing_a_deployment_is_corrected_and_told_without_a_fight(
    world: World,
) -> None:
    settle(world, tasks=3)
    (deployment,) = world.get("deploy")
    name = deployment["metadata"]["name"]

    begun = time.monotonic()
    with world.writes() as writes:
        stubborn(lambda: scale_deployment(world, name, 9), until=lambda: corrections(world) >= 2)
        took = time.monotonic() - begun
    ours = [write for write in writes if write[1] == f"deployments/{name}"]
    assert 2 <= len(ours) <= 1 + took / CORRECTION_SECONDS, (took, writes)
    told = [text for reason, text in world.events() if reason == "DriftCorrected"]
    assert len(told) == 1
    assert "spec.replicas" in told[0]
    assert "change the OpsAgentWorker instead" in told[0]

    world.until_replicas({"v1.0.0": 3})


@pytest.mark.parametrize("number", [0, 1, 9])
def test_a_deployment_that_somebody_scaled_by_hand_gets_its_number_back(
    world: World, number: int
) -> None:
    settle(world, tasks=3)
    (deployment,) = world.get("deploy")
    with world.numbers() as numbers:
        scale_deployment(world, deployment["metadata"]["name"], number)
        world.until_replicas({"v1.0.0": 3})
    assert numbers == [3, number, 3]
    eventually(lambda: corrections(world) == 1)


def test_a_deleted_pod_is_replaced_and_no_business_of_ours(world: World) -> None:
    settle(world, tasks=3)
    victim, *others = [pod["metadata"]["name"] for pod in world.get("pods")]
    with world.writes() as writes, world.numbers() as numbers:
        world.run("delete", "pod", victim)

        def replaced() -> bool:
            names = {pod["metadata"]["name"] for pod in world.get("pods")}
            return len(names) == 3 and victim not in names and names > {*others}

        eventually(replaced)
        world.until_condition("Ready", "True", "Running")
        until_visited(world)
    assert numbers == [3]
    assert not [write for write in writes if write[1].startswith("deployments")]


def test_a_deleted_deployment_comes_back_with_the_workers_that_are_needed(world: World) -> None:
    settle(world, tasks=3)
    (before,) = world.get("deploy")
    world.run("delete", "deploy", before["metadata"]["name"])
    world.until_replicas({"v1.0.0": 3})
    (after,) = world.get("deploy")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    eventually(lambda: world.worker()["status"]["ready"] == "3/3")


def scale_deployment(world: World, name: str, number: int) -> None:
    patch = json.dumps({"spec": {"replicas": number}})
    world.run("patch", "deploy", name, "--type=merge", "-p", patch)


def corrections(world: World) -> int:
    """How often DriftCorrected was told."""
    return sum(
        event.get("count", 1)
        for event in world.get("events")
        if event["reason"] == "DriftCorrected"
    )


def stubborn(act: Callable[[], None], *, until: Callable[[], bool], seconds: float = 60.0) -> None:
    """`act` again and again."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        act()
