"""An object at rest may be left alone: time alone changes nothing that is decided about it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.world import UNREACHABLE, World, make_queue, make_spec
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.model.observed import WorkerState
from opsagent_operator.model.plan import Plan

SLEEPY: Mapping[str, Any] = {"scaleDown": {"stabilization": "10s", "cooldownToZero": "30s"}}


def settled(**spec: Any) -> World:
    """An object whose first release is long through, and whose workers all report."""
    world = World(spec=make_spec(**{"scaling": SLEEPY, **spec}))
    world.settle(visits=20, pause=10)
    pods = world.observe().pods
    world.queue = make_queue(workers={pod.name: WorkerState(slots=4, version="v") for pod in pods})
    world.visit()
    return world


def test_an_object_without_work_rests_at_zero() -> None:
    world = settled()
    assert set(world.replicas().values()) == {0}
    assert world.visit().at_rest


def test_workers_that_wait_for_work_rest_too() -> None:
    world = settled(scaling={**SLEEPY, "minReplicas": 2})
    assert set(world.replicas().values()) == {2}
    assert world.visit().at_rest


def test_a_number_that_somebody_has_set_is_at_rest_once_it_is_reached() -> None:
    assert settled(replicas=3).visit().at_rest


@pytest.mark.parametrize(
    "fields",
    [
        {"pending": 1},
        {"in_flight": 1},
        {"delayed": 1, "next_due": timedelta(hours=1)},
        {"estimated": True},
        {"marked": frozenset({"pod"})},
        {"paused": True},
        {"foreign": 1},  # a number in the status
    ],
)
def test_an_object_does_not_rest_while_its_queue_has_something_for_it(
    fields: Mapping[str, Any],
) -> None:
    world = settled()
    world.queue = make_queue(**fields)
    assert not world.visit().at_rest


def test_an_object_does_not_rest_while_its_queue_is_unknown() -> None:
    world = settled()
    world.queue = UNREACHABLE
    world.settle()
    assert not world.visit().at_rest


def test_a_lull_is_no_rest() -> None:
    world = settled()
    world.queue = make_queue(pending=3)
    world.settle(visits=2)
    world.queue = make_queue()
    world.settle(visits=2)
    assert set(world.replicas().values()) != {0}
    assert not world.visit().at_rest  # the window and the cooldown end by themselves


def test_a_release_that_does_not_come_up_is_no_rest() -> None:
    world = settled()
    world.broken.add("v1.1.0-stable-20251101")
    world.change(scaling=SLEEPY, version="v1.1.0-stable-20251101")
    world.settle()
    assert not world.visit().at_rest


QUEUES = st.builds(
    make_queue,
    pending=st.integers(0, 3),
    in_flight=st.integers(0, 2),
    delayed=st.integers(0, 1),
    next_due=st.none() | st.just(timedelta(seconds=40)),
    foreign=st.integers(0, 1),
    run_id=st.sampled_from(["a", "b"]),
    last_claim=st.sampled_from([None, 0, 1]),
    workers=st.just({}) | st.just({"pod": WorkerState(slots=4, version="v1")}),
)
MOMENTS = st.lists(
    st.tuples(st.just(make_queue()) | QUEUES | st.just(UNREACHABLE), st.integers(1, 120)),
    max_size=12,
)
SCALINGS = st.fixed_dictionaries(
    {
        "minReplicas": st.integers(0, 2),
        "scaleDown": st.fixed_dictionaries(
            {
                "stabilization": st.sampled_from(["0s", "10s", "5m"]),
                "cooldownToZero": st.sampled_from(["0s", "30s", "5m"]),
            }
        ),
    }
)


def without_memory(plan: Plan) -> Plan:
    return replace(plan, memory=World().memory)


@given(scaling=SCALINGS, moments=MOMENTS, later=st.integers(1, 100_000), after=MOMENTS)
def test_visits_that_are_left_out_at_rest_are_not_missed(
    scaling: dict[str, Any], moments: list[Any], later: int, after: list[Any]
) -> None:
    world = World(spec=make_spec(scaling=scaling))
    for queue, seconds in moments:
        world.queue = queue
        world.settle(visits=2, pause=seconds)
    plan = world.visit()
    if not plan.at_rest:
        return

    # Any later visit decides the same…
    world.tick(later)
    again = decide(world.observe(), world.now)
    assert without_memory(again) == without_memory(plan)

    # …and whether it was made makes no difference to what comes after.
    other = replace(
        world,
        memory=again.memory,
        revisions=dict(world.revisions),
        deployments=dict(world.deployments),
        broken=set(),
        events=[],
    )
    for queue, seconds in after:
        for one in (world, other):
            one.queue = queue
        assert without_memory(world.visit()) == without_memory(other.visit())
        for one in (world, other):
            one.kubelet()
            one.tick(seconds)
