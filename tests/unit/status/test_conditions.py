"""What `kubectl describe oaw` tells, and when it changes."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures.world import START, UNREACHABLE, V1, V2, World, make_queue
from opsagent_operator.api.status import OpsAgentWorkerStatus
from opsagent_operator.decide import conditions as conditions_module
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.model.observed import DeploymentState, Observed, PodState

ALL = [
    "Ready",
    "Available",
    "Reconciling",
    "Stalled",
    "QueueReachable",
    "ScalingActive",
    "Paused",
    "TaskAware",
]


def running(*, pending: int = 16) -> World:
    world = World(queue=make_queue(pending=pending))
    world.settle()
    return world


def table(world: World) -> dict[str, str]:
    return {kind: world.condition(kind)["status"] for kind in ALL}


def test_all_conditions_are_there_after_the_first_visit() -> None:
    world = World()
    world.visit()
    assert [entry["type"] for entry in world.status["conditions"]] == ALL
    assert all(entry["observedGeneration"] == 1 for entry in world.status["conditions"])


@pytest.mark.parametrize(
    ("sentence", "make", "expected"),
    [
        ("a first version starts", World, {"Ready": "Starting", "Available": "NoWorkerReady"}),
        ("workers run", running, {"Ready": "Running", "Available": "WorkersReady"}),
    ],
)
def test_the_reason_of_ready_is_the_state(
    sentence: str, make: Any, expected: dict[str, str]
) -> None:
    world = make()
    world.visit()
    assert {kind: world.condition(kind)["reason"] for kind in expected} == expected, sentence


def test_an_idle_object_is_ready_and_available() -> None:
    world = running()
    world.queue = make_queue()
    world.settle(pause=20)
    assert world.replicas() == {V1: 0}
    assert world.condition("Ready")["reason"] == "Idle"
    assert world.condition("Available")["reason"] == "ScaledToZero"
    assert world.status["ready"] == "0/0"


def test_scaling_up_from_zero_does_not_make_it_unready() -> None:
    world = running()
    world.queue = make_queue()
    world.settle(pause=20)
    world.queue = make_queue(pending=40)
    world.visit()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Ready")["message"] == f"{V1}: 0 of 10 workers ready"
    assert world.condition("Reconciling")["status"] == "True"


def test_an_unknown_queue_makes_it_unready_but_not_stalled_and_its_numbers_disappear() -> None:
    world = running()
    world.queue = UNREACHABLE
    world.visit()
    assert table(world) == {
        "Ready": "False",
        "Available": "False",
        "Reconciling": "True",
        "Stalled": "False",
        "QueueReachable": "False",
        "ScalingActive": "False",
        "Paused": "False",
        "TaskAware": "Unknown",
    }
    assert world.status["queue"] == {}
    assert world.replicas() == {V1: 4}
    assert world.condition("QueueReachable")["reason"] == "ConnectionFailed"


def test_a_missing_secret_is_stalled_and_says_what_to_do() -> None:
    world = World()
    world.queue = replace(
        UNREACHABLE, reason="SecretNotFound", message="there is no Secret ops-agent; create it"
    )
    world.visit()
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"
    assert world.condition("Ready")["message"] == "there is no Secret ops-agent; create it"


def test_reconciling_and_stalled_are_never_both_true() -> None:
    for broken in (set(), {V1}):
        world = World(broken=broken)
        for _ in range(8):
            world.visit()
            world.kubelet()
            world.tick(60)
            states = table(world)
            assert (states["Reconciling"], states["Stalled"]) != ("True", "True")


def test_transition_times_move_only_when_a_status_flips() -> None:
    world = running()
    since = world.condition("Ready")["lastTransitionTime"]
    world.queue = make_queue(pending=30)
    world.settle()
    assert world.condition("Ready")["lastTransitionTime"] == since
    world.change(paused=True)
    world.visit()
    assert world.condition("Ready")["lastTransitionTime"] > since


def observe(world: World, **pod: Any) -> Observed:
    """The world with one pod of the only revision, which is not ready."""
    (name,) = world.revisions
    state = PodState(name="pod-0", revision=name, ready=False, created_at=START, **pod)
    return replace(
        world.observe(),
        pods=(state,),
        deployments={name: DeploymentState(replicas=1, ready=0)},
    )


@pytest.mark.parametrize(
    ("sentence", "pod", "after", "reason", "stalled", "words"),
    [
        (
            "an image that cannot be pulled",
            {"waiting_reason": "ErrImagePull", "waiting_message": "not\nfound"},
            1,
            "ImagePullFailed",
            "True",
            "cannot be pulled (not found)",
        ),
        (
            "a Secret that the container needs is missing",
            {"waiting_reason": "CreateContainerConfigError", "waiting_message": 'secret "x"'},
            1,
            "ContainerConfigError",
            "True",
            'cannot be made (secret "x")',
        ),
        (
            "a worker that ends at once says why",
            {"exit_message": "VERCEL_TOKEN is not set", "restarts": 1},
            1,
            "WorkerCrashing",
            "False",
            "restarted once (VERCEL_TOKEN is not set)",
        ),
        (
            "a worker that keeps ending waits for a person",
            {"waiting_reason": "CrashLoopBackOff", "exit_message": "boom", "restarts": 3},
            1,
            "WorkerCrashing",
            "True",
            "restarted 3 times (boom)",
        ),
        (
            "a pod without a node may still find one",
            {"unschedulable_message": "0/1 nodes are available"},
            1,
            "Unschedulable",
            "False",
            "no node takes pod-0",
        ),
        (
            "a pod without a node for too long waits for a person",
            {"unschedulable_message": "0/1 nodes are available"},
            121,
            "Unschedulable",
            "True",
            "no node takes pod-0",
        ),
        (
            "a worker that is just starting is no problem",
            {},
            119,
            "Starting",
            "False",
            "is starting",
        ),
        (
            "a worker that is not ready in time is one",
            {},
            121,
            "ProgressDeadlineExceeded",
            "True",
            "not ready after 2m",
        ),
    ],
)
def test_what_keeps_a_worker_from_starting_is_told(
    sentence: str, pod: dict[str, Any], after: int, reason: str, stalled: str, words: str
) -> None:
    world = World()
    world.visit()
    plan = decide(observe(world, **pod), START + timedelta(seconds=after))
    status = plan.status or world.status
    conditions = {entry["type"]: entry for entry in status["conditions"]}
    assert conditions["Ready"]["reason"] == reason, sentence
    assert conditions["Stalled"]["status"] == stalled, sentence
    assert words in conditions["Ready"]["message"], sentence


def test_foreign_words_are_cut_short() -> None:
    world = World()
    world.visit()
    plan = decide(observe(world, exit_message="x" * 5000, restarts=2), START)
    assert plan.status is not None
    message = plan.status["conditions"][0]["message"]
    assert len(message) < 500
    assert message.endswith("…)")


@pytest.mark.parametrize("make", [World, running, lambda: World(queue=UNREACHABLE)])
def test_the_status_is_of_the_shape_that_the_api_has(make: Callable[[], World]) -> None:
    world = make()
    for version in (V1, V2):
        world.broken = {V2}
        world.change(version=version)
        world.settle()
        model = OpsAgentWorkerStatus.model_validate(world.status)
        assert model.model_dump(by_alias=True, exclude_none=True, mode="json") == world.status


def test_the_first_failure_of_a_release_is_in_its_history() -> None:
    world = running()
    world.broken = {V2}
    world.change(version=V2)
    world.settle()
    phases = {entry["version"]: entry["phase"] for entry in world.status["release"]["history"]}
    assert phases == {V1: "Current", V2: "Failed"}
    assert world.status["release"]["target"]["version"] == V2


def test_every_reason_stands_in_the_reference() -> None:
    reference = (Path(__file__).parents[3] / "docs/status.md").read_text()
    package = Path(conditions_module.__file__).parents[1]
    sources = [*(package / "decide").glob("*.py"), package / "observe/queue.py"]
    code = "\n".join(source.read_text() for source in sources)
    patterns = [
        r'reason="(\w+)"',
        r'Answer\(\s*"(?:True|False|Unknown)",\s*"(\w+)"',
        r'NO_HEARTBEAT: Final = "(\w+)"',
        r'_normal\(\s*"(\w+)"',
        r'\.(?:to|hold|up)\([^()"]*"(\w+)"',
        r'reason(?:, \w+)? = \w+, "(\w+)"',
    ]
    reasons = {found for pattern in patterns for found in re.findall(pattern, code)}
    assert len(reasons) > 40
    assert {"QueueDepth", "StepLimit", "EstimatedDepth", "Fallback", "Paused"} <= reasons
    assert {reason for reason in reasons if f"`{reason}`" not in reference} == set()
