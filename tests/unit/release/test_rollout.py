"""One version takes over from another, and nothing is served less on the way."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.world import UNREACHABLE, V1, V2, V3, World, make_queue, make_spec
from opsagent_operator.manifests.revision import revision_name
from opsagent_operator.model.observed import InvalidSpec, Memory


def serving(world: World, version: str = V1, *, pending: int = 16) -> World:
    """A world in which `version` is settled."""
    world.change(version=version)
    world.queue = make_queue(pending=pending)
    world.settle()
    return world


def test_a_first_version_starts_with_all_the_workers_the_queue_needs() -> None:
    world = World(queue=make_queue(pending=16))
    world.visit()
    assert world.replicas() == {V1: 4}


def test_a_first_version_proves_itself_with_one_worker_when_nothing_is_to_be_done() -> None:
    world = World()
    world.visit()
    assert world.replicas() == {V1: 1}
    world.settle()
    assert world.condition("Ready")["status"] == "True"


def test_a_new_version_comes_up_with_one_worker_beside_the_old_one() -> None:
    world = serving(World())
    world.change(version=V2)
    world.visit()
    assert world.replicas() == {V1: 4, V2: 1}
    assert world.condition("Ready")["reason"] == "RollingOut"
    assert f"{V1} keeps serving" in world.condition("Ready")["message"]


def test_a_proven_version_gets_all_workers_before_the_old_ones_go() -> None:
    world = serving(World())
    world.change(version=V2)
    world.visit()
    world.kubelet()
    world.visit()
    assert world.replicas() == {V1: 4, V2: 4}
    world.visit()
    assert world.replicas() == {V1: 4, V2: 4}, "three of four are not ready yet"
    world.kubelet()
    world.visit()
    assert world.replicas() == {V1: 0, V2: 4}


def test_a_version_that_cannot_start_leaves_the_old_one_serving_and_scaling() -> None:
    world = serving(World(broken={V2}))
    world.change(version=V2)
    world.settle()
    world.queue = make_queue(pending=32)
    world.settle()
    assert world.replicas() == {V1: 8, V2: 1}
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ImagePullFailed")
    assert f"{V2} cannot start" in ready["message"]
    assert f"{V1} keeps serving" in ready["message"]
    assert world.condition("Available")["status"] == "True"
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Reconciling")["status"] == "False"


def test_giving_up_a_broken_version_takes_its_pod_away_and_returns_to_the_old_revision() -> None:
    world = serving(World(broken={V2}))
    before = set(world.revisions)
    world.change(version=V2)
    world.settle()
    world.change(version=V1)
    world.settle()
    assert world.replicas() == {V1: 4, V2: 0}
    assert before < set(world.revisions)
    assert world.condition("Ready")["status"] == "True"


def test_going_back_reuses_the_earlier_revision_as_it_was() -> None:
    world = serving(World())
    (first,) = world.revisions.values()
    serving(world, V2)
    serving(world, V1)
    again = world.revisions[first.name]
    assert (again.template, again.image) == (first.template, first.image)
    assert again.number > max(r.number for r in world.revisions.values() if r is not again)
    assert world.replicas() == {V1: 4, V2: 0}
    assert [event.reason for event in world.events].count("RevisionReused") == 1


@pytest.mark.parametrize("pin", ["version", "revision"])
def test_a_pin_holds_an_earlier_release_as_it_was_whatever_the_spec_says(pin: str) -> None:
    world = serving(World())
    (first,) = world.revisions.values()
    serving(world, V2)
    value = V1 if pin == "version" else first.name
    world.change(
        version=V3, worker={"logLevel": "DEBUG"}, pin={pin: value, "reason": "V3 is not tested yet"}
    )
    world.settle()
    assert world.replicas() == {V1: 4, V2: 0}
    assert world.revisions[first.name].template == first.template


def test_a_pin_to_an_unknown_revision_is_told_and_changes_nothing() -> None:
    world = serving(World())
    world.change(version=V2, pin={"revision": "ops-agent-ffffffffff"})
    world.settle()
    assert world.replicas() == {V1: 4}
    ready = world.condition("Ready")
    assert ready["reason"] == "RevisionNotFound"
    assert next(iter(world.revisions)) in ready["message"], "what could be pinned is listed"


def test_a_release_goes_on_while_the_queue_is_unknown() -> None:
    world = serving(World())
    world.queue = UNREACHABLE
    world.change(version=V2)
    world.settle()
    assert world.replicas() == {V1: 0, V2: 4}


def test_a_pause_takes_every_worker_and_closes_the_gate_and_its_end_opens_it() -> None:
    world = serving(World())
    world.change(paused=True)
    assert world.visit().pause_intake is True
    assert world.replicas() == {V1: 0}
    assert world.condition("Ready")["reason"] == "Paused"
    assert world.visit().pause_intake is None, "the gate is written only when it says otherwise"
    world.change(paused=False)
    assert world.visit().pause_intake is False
    world.settle()
    assert world.replicas() == {V1: 4}


def test_revisions_beyond_the_limit_go_but_never_one_that_runs_or_serves() -> None:
    world = World(queue=make_queue(pending=4))
    for number in range(6):
        world.change(version=f"v1.{number}.0", release={"historyLimit": 2})
        world.settle()
    assert sorted(world.replicas()) == ["v1.3.0", "v1.4.0", "v1.5.0"]
    assert len(world.revisions) == 3


versions = st.sampled_from([V1, V2, V3])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("version"), versions),
        st.tuples(st.just("pending"), st.integers(0, 60)),
        st.tuples(st.just("broken"), st.sets(versions, max_size=2)),
        st.tuples(st.just("visit"), st.none()),
        st.tuples(st.just("kubelet"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("outage"), st.none()),
    ),
    max_size=30,
)


def take(world: World, what: str, value: Any) -> None:
    match what:
        case "version":
            world.change(version=value)
        case "pending":
            world.queue = make_queue(pending=value)
        case "broken":
            world.broken = value
        case "kubelet":
            world.kubelet()
        case "restart":
            world.memory = Memory()
        case "outage":
            world.queue = UNREACHABLE
        case "visit":
            before = sum(state.ready for state in world.deployments.values())
            world.visit()
            after = sum(state.ready for state in world.deployments.values())
            needed = sum(
                state.replicas
                for name, state in world.deployments.items()
                if world.revisions[name].promoted_at is not None
            )
            assert after >= min(before, needed) or not world.deployments, (
                "a release never takes ready workers away that the queue needs"
            )
            world.tick(1)


@given(steps=steps)
@settings(max_examples=200)
def test_whatever_happens_a_good_version_ends_up_alone_with_what_the_queue_needs(
    steps: list[tuple[str, Any]],
) -> None:
    world = World()
    for what, value in steps:
        take(world, what, value)
    world.broken = set()
    world.queue = make_queue(pending=20)
    world.change(version=V2)
    world.tick(600)
    world.settle(visits=80)
    assert {version: count for version, count in world.replicas().items() if count} == {V2: 5}
    assert world.condition("Ready")["status"] == "True"
    assert world.status["release"]["current"]["version"] == V2


@given(steps=steps)
@settings(max_examples=100)
def test_a_settled_object_causes_no_write_and_no_event(steps: list[tuple[str, Any]]) -> None:
    world = World()
    for what, value in steps:
        take(world, what, value)
    world.queue = make_queue(pending=20)
    world.settle(visits=80)
    writes, told = world.status_writes, len(world.events)
    children = (dict(world.revisions), dict(world.deployments))
    for _ in range(5):
        world.tick(1)
        world.visit()
    assert (world.status_writes, len(world.events)) == (writes, told)
    assert (world.revisions, world.deployments) == children


def test_an_unreadable_spec_changes_nothing_and_is_told() -> None:
    world = serving(World())
    world.spec = InvalidSpec(message="spec.queue: a newer operator wrote this")
    plan = world.visit()
    assert (plan.apply, plan.delete, plan.pause_intake) == ((), (), None)
    assert world.condition("Ready")["reason"] == "InvalidSpec"
    assert world.replicas() == {V1: 4}


def test_a_spec_that_differs_only_in_defaults_written_out_names_the_same_revision() -> None:
    short = revision_name("ops-agent", make_spec(), version=V1)
    explicit = make_spec(worker={"concurrency": 4, "retry": {"backoff": "10s"}, "lease": "30000ms"})
    assert revision_name("ops-agent", explicit, version=V1) == short
    redis = {"urlFrom": {"secretKeyRef": {"name": "ops-agent", "key": "REDIS_URL"}}}
    explicit = make_spec(
        queue={"redis": redis, "kind": "Orchestrator"}, worker={"command": [], "args": []}
    )
    assert revision_name("ops-agent", explicit, version=V1) == short
    assert revision_name("ops-agent", make_spec(worker={"concurrency": 5}), version=V1) != short


def test_a_field_that_is_new_in_the_api_renames_no_revision() -> None:
    assert revision_name("ops-agent", make_spec(), version=V1) == "ops-agent-cef17a0c91"
