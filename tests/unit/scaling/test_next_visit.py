"""When the operator comes back by itself: exactly when time alone changes the decision."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.world import UNREACHABLE, V2, World, make_queue
from opsagent_operator.decide.polls import Polls
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.model.observed import InvalidSpec, Memory, Observed, QueueState
from opsagent_operator.model.plan import Plan

IDLE, ACTIVE = 30.0, 15.0


def running(*, pending: int = 16, **spec: Any) -> World:
    """A world with workers for `pending` tasks that has been still for ten minutes."""
    world = World(queue=make_queue(pending=pending, run_id="a"))
    world.change(**spec)
    world.settle()
    world.settle(visits=20, pause=30)
    return world


def seconds_until_next(world: World, queue: QueueState | None = None, **fields: Any) -> float:
    """After one visit to the queue as it is then."""
    world.queue = queue or make_queue(run_id="a", **fields)
    world.visit()
    # What is written together with moving numbers is not what is asked for here.
    world.status = world.visit().status or world.status
    world.memory = replace(world.memory, status_written_at=None)
    return world.visit().requeue_after.total_seconds()


def test_while_tasks_are_worked_on_the_safety_net_is_the_active_poll() -> None:
    assert seconds_until_next(running(), pending=16) == ACTIVE


def test_while_nothing_is_to_be_done_it_is_the_idle_poll() -> None:
    world = running()
    world.queue = make_queue(run_id="a")
    world.settle(visits=20, pause=30)
    assert seconds_until_next(world) == IDLE


def test_the_polls_are_a_setting() -> None:
    polls = Polls(active=timedelta(seconds=7), idle=timedelta(seconds=70))
    world = running()
    assert decide(world.observe(), world.now, polls).requeue_after == polls.active


def test_while_a_release_is_on_its_way_the_cluster_tells_and_the_net_is_the_active_poll() -> None:
    world = running()
    world.change(version=V2)
    world.visit()
    assert world.visit().requeue_after.total_seconds() == ACTIVE


STILL = {"scaleDown": {"stabilization": "8s", "cooldownToZero": "11s"}}


@pytest.mark.parametrize(
    ("sentence", "spec", "queue", "seconds"),
    [
        ("the end of the window", {"scaling": STILL}, {"pending": 12}, 8),
        ("but not after the poll", {"scaling": {}}, {"pending": 12}, ACTIVE),
        (
            "a delayed task, so that a pod is ready when it is due",
            {},
            {"pending": 16, "delayed": 1, "next_due": timedelta(seconds=12)},
            7,
        ),
        (
            "the tasks behind one that is due before a pod could be ready",
            {},
            {"pending": 16, "delayed": 2, "soon": 1, "next_due": timedelta(seconds=2)},
            5,
        ),
        (
            "no delayed task where a person's number holds",
            {"replicas": 4},
            {"pending": 16, "delayed": 1, "next_due": timedelta(seconds=12)},
            ACTIVE,
        ),
        (
            "a delayed task that is due after the poll changes nothing",
            {},
            {"pending": 16, "delayed": 1, "next_due": timedelta(seconds=60)},
            ACTIVE,
        ),
    ],
)
def test_it_comes_back_for(
    sentence: str, spec: dict[str, Any], queue: dict[str, Any], seconds: float
) -> None:
    assert seconds_until_next(running(**spec), **queue) == seconds, sentence


def test_it_comes_back_for_the_next_step_down_and_for_the_end_of_the_cooldown() -> None:
    world = running(scaling={"scaleDown": {"stabilization": "8s", "cooldownToZero": "30s"}})
    world.queue = make_queue(run_id="a")
    moves = []
    for _ in range(20):
        before = world.replicas()
        plan = world.visit()
        if world.replicas() != before:
            (count,) = world.replicas().values()
            moves.append((world.now, count))
        world.kubelet()
        world.now += plan.requeue_after
    begun = moves[0][0]
    assert [((at - begun).total_seconds(), count) for at, count in moves] == [
        (0.0, 2),
        (8.0, 1),
        (22.0, 0),
    ]


def test_it_comes_back_when_a_worker_has_been_idle_for_long_enough_to_lose_its_protection() -> None:
    world = running(disruption={"protectBusy": True})
    observed = world.observe()
    guarded = tuple(replace(pod, protected=True) for pod in observed.pods)
    since = world.now - timedelta(seconds=26)
    memory = replace(world.memory, idle_since={guarded[0].name: since})
    plan = decide(replace(observed, pods=guarded, memory=memory), world.now)
    assert plan.requeue_after == timedelta(seconds=4)


def test_a_protection_that_cannot_end_while_the_queue_is_unknown_is_no_reason_to_hurry() -> None:
    world = running(disruption={"protectBusy": True})
    since = world.now - timedelta(minutes=1)
    observed = replace(world.observe(), queue=UNREACHABLE)
    memory = replace(world.memory, idle_since={observed.pods[0].name: since})
    world.memory = decide(replace(observed, memory=memory), world.now).memory
    plan = decide(replace(observed, memory=world.memory), world.now + timedelta(seconds=1))
    assert plan.requeue_after >= timedelta(seconds=1)


@pytest.mark.parametrize(
    "changed", ["becomes a plain one", "belongs to a spec that cannot be read"]
)
def test_what_was_to_be_waited_for_is_no_reason_to_hurry_when_the_queue(changed: str) -> None:
    world = running()
    since = world.now - timedelta(minutes=1)
    memory = replace(world.memory, idle_since={"pod": since}, draining_since={"pod": since})
    if changed == "becomes a plain one":
        world.queue = make_queue(pending=16, in_flight=None, task_aware=False)
    else:
        world.spec = InvalidSpec(message="a newer operator wrote this")
    world.memory = memory
    world.visit()
    world.tick(5)
    assert world.visit().requeue_after > timedelta(seconds=1)


def test_a_delayed_task_finds_a_worker_that_is_ready_when_it_is_due() -> None:
    """From zero, by the operator's own visits alone; a pod takes five seconds to start."""
    world = running()
    world.queue = make_queue(run_id="a")
    world.settle(visits=20, pause=30)
    assert list(world.replicas().values()) == [0]
    due = world.now + timedelta(seconds=100)
    while list(world.replicas().values()) == [0]:
        left = due - world.now
        assert left > timedelta(), "the task is due, and nobody is there"
        soon = int(left <= world.memory.start_time)
        world.queue = make_queue(run_id="a", delayed=1, next_due=left, soon=soon)
        plan = world.visit()
        asked_at = world.now
        world.now += plan.requeue_after
    assert due - asked_at == timedelta(seconds=5)
    assert list(world.replicas().values()) == [1]


def test_it_comes_back_for_the_fallback() -> None:
    world = running(scaling={"whenUnknown": {"after": "13s", "replicas": 9}})
    world.queue = UNREACHABLE
    assert world.visit().requeue_after == timedelta(seconds=13)
    world.tick(13)
    world.visit()
    assert list(world.replicas().values()) == [9]


def test_it_comes_back_when_an_emptiness_is_to_be_believed() -> None:
    world = running(scaling={"whenUnknown": {"after": "13s"}})
    world.queue = make_queue(run_id="b")
    assert world.visit().requeue_after == timedelta(seconds=13)


def test_it_comes_back_when_a_worker_should_have_become_ready() -> None:
    world = World(queue=make_queue(pending=4))
    world.change(release={"progressDeadline": "9s"})
    world.visit()
    (name,) = world.deployments
    observed = world.observe()
    created = world.now - timedelta(seconds=2)
    pods = tuple(replace(pod, created_at=created) for pod in observed.pods)
    plan = decide(replace(observed, pods=pods), world.now)
    assert plan.requeue_after == timedelta(seconds=7)
    later = decide(replace(observed, pods=pods), world.now + plan.requeue_after)
    assert later.status is not None
    assert "not ready after 9s" in str(later.status), name


def test_a_settled_object_is_not_visited_more_often_than_it_is_polled() -> None:
    world = running()
    begun, visits = world.now, 0
    while world.now < begun + timedelta(minutes=10):
        world.now += world.visit().requeue_after
        visits += 1
    assert visits == 10 * 60 / ACTIVE


# --- Exact: before that moment the same observation decides the same -----------------------------

durations = st.sampled_from(["0s", "3s", "20s", "60s"])
specs = st.fixed_dictionaries(
    {
        "scaling": st.fixed_dictionaries(
            {
                "maxReplicas": st.sampled_from([3, 20]),
                "scaleDown": st.fixed_dictionaries(
                    {"stabilization": durations, "cooldownToZero": durations}
                ),
                "whenUnknown": st.fixed_dictionaries(
                    {"after": durations, "replicas": st.sampled_from([None, 5])}
                ),
            },
            optional={
                "scaleUp": st.just({"maxStep": 2}),
                "minReplicas": st.just(1),
                "maxQueueWait": st.just("10s"),
            },
        )
    }
)
queues = st.one_of(
    st.just(UNREACHABLE),
    st.builds(
        make_queue,
        pending=st.sampled_from([0, 0, 1, 30]),
        in_flight=st.sampled_from([0, 3]),
        delayed=st.sampled_from([0, 2]),
        soon=st.sampled_from([0, 0, 1]),
        next_due=st.sampled_from([None, timedelta(seconds=2), timedelta(seconds=12)]),
        estimated=st.sampled_from([False, False, True]),
        run_id=st.sampled_from(["a", "b", None]),
        last_claim=st.sampled_from([None, 0, 1]),
        mean_seconds=st.sampled_from([None, 4.0]),
    ),
)


@st.composite
def observations(draw: st.DrawFn) -> tuple[World, Observed]:
    """What is seen after some visits at any times."""
    world = World()
    world.change(**draw(specs))
    for pause in draw(st.lists(st.sampled_from([0.5, 1, 4, 20, 90]), max_size=12)):
        if draw(st.booleans()):
            world.queue = draw(queues)
        if draw(st.integers(0, 5)) == 0:
            world.memory = Memory()
        world.visit()
        world.kubelet()
        world.tick(pause)
    world.queue = draw(queues)
    return world, world.observe()


def numbers(plan: Plan) -> Mapping[str, int]:
    """Replicas by Deployment."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["replicas"]
        for manifest in plan.apply
        if manifest["kind"] == "Deployment"
    }


@given(found=observations(), percent=st.integers(0, 99))
@settings(max_examples=200)
def test_the_same_observation_decides_the_same_until_the_next_visit(
    found: tuple[World, Observed], percent: int
) -> None:
    world, observed = found
    plan = decide(observed, world.now)
    later = decide(observed, world.now + plan.requeue_after * percent / 100)
    assert numbers(later) == numbers(plan)
    assert timedelta() <= plan.requeue_after <= timedelta(seconds=IDLE)


@given(found=observations(), percent=st.integers(0, 99))
@settings(max_examples=200)
def test_a_visit_that_nobody_asked_for_changes_nothing(
    found: tuple[World, Observed], percent: int
) -> None:
    """As above, from what the last visit has left behind."""
    world, _ = found
    for _ in range(4):
        world.visit()
        world.kubelet()
    plan = world.visit()
    before = dict(world.replicas())
    world.now += plan.requeue_after * percent / 100
    world.visit()
    assert world.replicas() == before


@given(found=observations())
@settings(max_examples=100)
def test_equal_observations_make_equal_plans(found: tuple[World, Observed]) -> None:
    world, observed = found
    assert decide(observed, world.now) == decide(world.observe(), world.now)
