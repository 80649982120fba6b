"""Whom autoscalers of nodes are asked to leave alone, and with how few writes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fixtures.fleet import Fleet, fleet
from opsagent_operator.manifests.labels import PROTECTED, PROTECTION

ALL = {PROTECTED: "true", **PROTECTION}


def guarded(**worker: Any) -> tuple[Fleet, str]:
    """One worker, and its name."""
    world = fleet(1, disruption={"protectBusy": True}, worker=worker)
    (name,) = world.running()
    return world, name


def annotations(world: Fleet, name: str) -> dict[str, str]:
    return {key: text for key, text in world.members[name].annotations.items() if key in ALL}


def test_a_worker_that_holds_a_task_is_protected_at_once() -> None:
    world, name = guarded()
    assert annotations(world, name) == {}
    world.claim(name)
    world.step()
    assert annotations(world, name) == ALL


def test_it_is_given_up_when_it_has_held_nothing_for_half_a_minute() -> None:
    world, name = guarded()
    world.claim(name)
    world.step()
    world.finish(name)
    for _ in range(30):
        world.step()
        assert annotations(world, name) == ALL
    world.step()
    assert annotations(world, name) == {}


def test_nobody_is_protected_unless_the_object_says_so() -> None:
    world = fleet(1)
    (name,) = world.running()
    world.claim(name)
    world.step()
    assert world.patches == 0


def test_switching_it_off_gives_everybody_up_at_once() -> None:
    world, name = guarded()
    world.claim(name)
    world.step()
    world.change(replicas=1, worker={})
    world.step()
    assert annotations(world, name) == {}


def test_what_a_person_wrote_on_a_pod_or_in_the_template_is_left_alone() -> None:
    own = {"karpenter.sh/do-not-disrupt": "maybe"}
    world, name = guarded(podAnnotations=own)
    world.members[name].annotations.update(own)
    world.claim(name)
    world.step()
    assert annotations(world, name) == {**ALL, **own}
    world.change(replicas=1, worker={"podAnnotations": own})
    world.step()
    assert annotations(world, name) == own


def test_a_queue_that_is_unknown_changes_nothing() -> None:
    world, name = guarded()
    world.claim(name)
    world.step()
    world.finish(name)
    world.unreachable = True
    for _ in range(60):
        world.step()
    assert annotations(world, name) == ALL


@given(busy=st.lists(st.booleans(), min_size=1, max_size=200))
def test_however_a_worker_wavers_there_are_two_writes_in_half_a_minute_at_most(
    busy: list[bool],
) -> None:
    world, name = guarded()
    before, seconds = world.patches, 0.3
    for working in busy:
        world.members[name].tasks = int(working)
        world.step(seconds=seconds)
    assert world.patches - before <= 1 + 2 * (len(busy) * seconds // 30)
