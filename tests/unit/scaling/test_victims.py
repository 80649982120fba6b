"""Who goes when there are fewer workers, and that it is never one that works."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.fleet import Fleet, fleet
from fixtures.world import START, make_queue
from opsagent_operator.decide.victims import GOING, order
from opsagent_operator.model.observed import PodState, QueueState, WorkerState

WORKER = {"drainTimeout": "1m"}
FIXED = "{} replicas: spec.replicas says so, the queue is not asked; was {}"


def pod(name: str, **fields: Any) -> PodState:
    return PodState(**{"revision": "a", "ready": True, "created_at": START, "name": name, **fields})


def queue(*reporting: str, **fields: Any) -> QueueState:
    workers = {name: WorkerState(slots=4, version="v") for name in reporting}
    return make_queue(workers=workers, **fields)


@pytest.mark.parametrize(
    ("sentence", "pods", "seen", "expected"),
    [
        (
            "one that is not ready goes before an idle one, as Kubernetes would have it",
            [pod("idle"), pod("unready", ready=False)],
            queue("idle", "unready"),
            ["unready", "idle"],
        ),
        (
            "of those that are not ready, one that still holds a task goes last",
            [pod("lost", ready=False), pod("new", ready=False), pod("idle")],
            queue("idle", held={"lost": 1}),
            ["new", "lost", "idle"],
        ),
        (
            "one that never reported goes before an idle one",
            [pod("idle"), pod("mute")],
            queue("idle"),
            ["mute", "idle"],
        ),
        (
            "one whose going has been arranged goes before all other ready ones",
            [pod("idle"), pod("going", deletion_cost=GOING)],
            queue("idle", "going", held={"going": 1}),
            ["going", "idle"],
        ),
        (
            "somebody else's cost says nothing",
            [pod("a", deletion_cost=-5), pod("b")],
            queue("a", "b", marked=frozenset({"b"})),
            ["b", "a"],
        ),
        (
            "an idle one goes before one that was chosen and is still busy",
            [pod("marked"), pod("idle")],
            queue("idle", "marked", held={"marked": 1}, marked=frozenset({"marked"})),
            ["idle", "marked"],
        ),
        (
            "of two idle ones the one that was chosen goes",
            [pod("a"), pod("b")],
            queue("a", "b", marked=frozenset({"b"})),
            ["b", "a"],
        ),
        (
            "a busy one that was chosen stays chosen",
            [pod("chosen"), pod("other")],
            queue("chosen", "other", held={"chosen": 3, "other": 1}, marked=frozenset({"chosen"})),
            ["chosen", "other"],
        ),
        (
            "of busy ones the one with the fewest tasks goes",
            [pod("a"), pod("b")],
            queue("a", "b", held={"a": 3, "b": 1}),
            ["b", "a"],
        ),
        (
            "of equal ones the youngest goes, then the first by name",
            [pod("c"), pod("b"), pod("a"), pod("young", created_at=START + timedelta(seconds=1))],
            queue("a", "b", "c", "young"),
            ["young", "a", "b", "c"],
        ),
    ],
)
def test_the_order_of_going(
    sentence: str, pods: list[PodState], seen: QueueState, expected: list[str]
) -> None:
    assert [p.name for p in sorted(pods, key=lambda p: order(p, seen))] == expected, sentence


def lowered(world: Fleet, count: int) -> Fleet:
    """Somebody asks for fewer workers."""
    world.change(replicas=count, worker=WORKER)
    return world


def busy(count: int, *, of: int) -> tuple[Fleet, list[str]]:
    """A fleet in which the first `count` workers hold two tasks each, and their names."""
    world = fleet(of, worker=WORKER)
    names = world.running()[:count]
    for name in names:
        world.claim(name, 2)
    return world, names


def until(world: Fleet, holds: Callable[[], bool], *, steps: int = 200) -> None:
    for _ in range(steps):
        if holds():
            return
        world.step()
    pytest.fail(f"not within {steps} visits: {world.status['decision']}")


def test_workers_are_marked_first_and_go_at_the_next_visit() -> None:
    world, working = busy(2, of=4)
    first = lowered(world, 2).visit()
    assert first.drain == frozenset(world.running()) - frozenset(working)
    assert world.marks == first.drain
    assert world.replicas_asked() == 4
    assert first.requeue_after == timedelta()

    world.visit()
    assert world.replicas_asked() == 2
    assert {name for name, pod in world.members.items() if pod.cost == GOING} == world.marks
    world.controller()
    assert world.running() == working


def test_a_worker_that_takes_a_task_before_its_mark_is_set_is_waited_for() -> None:
    world, _ = busy(0, of=2)
    plan = lowered(world, 1).visit()
    assert plan.drain is not None
    (chosen,) = plan.drain
    world.members[chosen].tasks = 1
    world.members[next(name for name in world.members if name != chosen)].tasks = 1
    world.step()
    assert world.replicas_asked() == 2
    assert world.marks == {chosen}
    world.finish(chosen)
    until(world, lambda: world.replicas_asked() == 1)
    assert chosen not in world.running()
    assert not world.stopped_busy


def test_while_a_victim_is_busy_the_idle_ones_go_and_the_object_says_for_whom_it_waits() -> None:
    world, _ = busy(4, of=6)
    lowered(world, 3)
    until(world, lambda: world.replicas_asked() == 4)
    world.step()
    (waited_for,) = world.marks
    decision = world.status["decision"]
    assert (decision["action"], decision["reason"]) == ("Hold", "Draining")
    assert decision["message"] == (f"lowering 4 to 3: waiting for {waited_for} to finish 2 tasks")
    assert world.visit().requeue_after == timedelta(seconds=1)
    world.finish(waited_for, 2)
    until(world, lambda: world.replicas_asked() == 3)
    assert len(world.running()) == 3
    assert not world.stopped_busy


def test_the_event_tells_who_went_and_why_and_each_step_is_told_once() -> None:
    world, working = busy(2, of=4)
    idle = sorted(set(world.running()) - set(working))
    lowered(world, 2)
    for _ in range(5):
        world.step()
    assert [event.message for event in world.events if event.reason == "ScaledDown"] == [
        f"{FIXED.format(2, 4)}; {idle[0]}, {idle[1]} go: idle"
    ]


def test_a_victim_that_stays_busy_for_drain_timeout_gets_sigterm_then() -> None:
    world, _ = busy(2, of=2)
    lowered(world, 1)
    asked_at = world.now
    until(world, lambda: bool(world.stopped_busy))
    ((name, at),) = world.stopped_busy.items()
    assert at - asked_at >= timedelta(minutes=1)
    assert world.replicas_asked() == 1
    assert "still busy after drainTimeout 1m" in world.events[-1].message
    world.finish(name, 2)
    world.step()
    world.step()
    assert not world.marks


def test_a_victim_that_dies_or_is_evicted_is_one_that_went() -> None:
    world, _ = busy(3, of=3)
    lowered(world, 2)
    world.step()
    (victim,) = world.marks
    world.members[victim].ended = True
    world.members[victim].tasks = 0
    world.step()
    world.step()
    assert world.replicas_asked() == 2
    assert len(world.running()) == 2
    assert not world.stopped_busy
    assert not world.marks


def test_new_work_calls_the_drain_off_and_nobody_is_lost() -> None:
    world, _ = busy(3, of=3)
    before = world.running()
    lowered(world, 1)
    world.step()
    assert len(world.marks) == 2
    world.change(replicas=3, worker=WORKER)
    plan = world.step()
    assert plan.drain == frozenset()
    assert world.running() == before
    assert world.replicas_asked() == 3
    assert not any(pod.cost for pod in world.members.values())
    assert "ScaledUp" not in [event.reason for event in world.events]
    assert "with 3 still there" in world.status["decision"]["message"]


def test_more_work_before_the_chosen_have_gone_takes_their_cost_away() -> None:
    world, _ = busy(0, of=3)
    lowered(world, 2)
    world.visit()
    world.visit()
    assert [pod.cost for pod in world.members.values()].count(GOING) == 1
    world.change(replicas=3, worker=WORKER)
    world.visit()
    assert not any(pod.cost for pod in world.members.values())
    assert not world.marks
    world.step()
    assert len(world.running()) == 3


def test_work_that_comes_while_an_idle_pod_is_on_its_way_out_is_not_for_that_pod() -> None:
    world, _ = busy(0, of=3)
    lowered(world, 2)
    world.visit()
    world.visit()
    (chosen,) = world.marks
    world.members[chosen].deleting = True
    world.change(replicas=3, worker=WORKER)
    world.visit()
    assert world.marks == {chosen}
    world.step()
    world.step()
    assert not world.marks


def test_the_marks_stay_until_the_chosen_have_been_told_to_stop() -> None:
    world, _ = busy(0, of=3)
    lowered(world, 2)
    for _ in range(5):
        world.visit()
    assert world.replicas_asked() == 2
    (chosen,) = world.marks
    assert world.members[chosen].cost == GOING
    world.step()
    world.step()
    assert not world.marks


def test_lost_marks_are_written_again() -> None:
    world, _ = busy(3, of=3)
    lowered(world, 2)
    world.step()
    before = set(world.marks)
    world.marks.clear()
    plan = world.step()
    assert world.marks == before
    assert plan.requeue_after > timedelta(), "not at once: Redis might forget them again"


def test_a_new_operator_goes_on_with_the_pods_that_are_marked() -> None:
    world, _ = busy(3, of=3)
    lowered(world, 2)
    world.step()
    before = set(world.marks)
    world.memory = type(world.memory)()
    world.step()
    assert world.marks == before
    assert world.replicas_asked() == 3


def test_while_the_queue_is_unknown_nobody_goes_and_the_drain_goes_on_after() -> None:
    world, _ = busy(2, of=4)
    world.change(scaling={"minReplicas": 4}, worker=WORKER)
    world.step()
    world.change(scaling={"minReplicas": 1, "maxReplicas": 2}, worker=WORKER)
    world.waiting = 50
    world.visit()
    assert len(world.marks) == 2
    world.unreachable = True
    for _ in range(3):
        world.step()
    assert world.replicas_asked() == 4
    world.unreachable = False
    until(world, lambda: world.replicas_asked() == 2)
    assert not world.stopped_busy


def test_time_in_which_the_queue_was_unknown_is_no_time_to_finish() -> None:
    world, _ = busy(4, of=4)
    world.waiting = 50
    world.change(scaling={"maxReplicas": 2}, worker=WORKER)
    world.step()
    world.unreachable = True
    world.step(seconds=600)
    world.marks.clear()  # they have run out, and their pods have gone on with other tasks
    world.step()
    world.unreachable = False
    for _ in range(50):
        world.step()
    assert len(world.marks) == 2
    assert not world.stopped_busy
    until(world, lambda: len(world.stopped_busy) == 2)


def test_a_pod_that_is_not_ready_and_holds_tasks_lets_no_other_go_in_its_place() -> None:
    world, (lost,) = busy(1, of=3)
    world.members[lost].sick = True
    world.step()
    lowered(world, 1)
    for _ in range(5):
        world.step()
        assert len(world.running()) == 3
    world.finish(lost, 2)
    until(world, lambda: len(world.running()) == 1)
    assert lost not in world.running()
    assert not world.stopped_busy


def test_to_zero_needs_no_costs() -> None:
    world, _ = busy(0, of=4)
    lowered(world, 0)
    until(world, lambda: not world.running())
    assert world.patches == 0


def mute(world: Fleet) -> None:
    for member in world.members.values():
        member.silent = True


@pytest.mark.parametrize(
    ("sentence", "prepare"),
    [
        ("workers of another make do not report", mute),
        ("the intake is paused", lambda world: world.change(paused=True)),
    ],
)
def test_where_nobody_can_be_asked_the_number_is_lowered_at_once(
    sentence: str, prepare: Callable[[Fleet], None]
) -> None:
    world, _ = busy(0, of=3)
    lowered(world, 0)
    prepare(world)
    world.visit()
    assert world.replicas_asked() == 0, sentence


def test_what_somebody_adds_to_the_deployment_by_hand_is_taken_back_at_once() -> None:
    world, _ = busy(2, of=2)
    (name,) = world.deployments
    world.deployments[name] = type(world.deployments[name])(replicas=5, ready=2)
    world.controller()
    world.kubelet()
    assert len(world.running()) == 5
    world.visit()
    assert world.replicas_asked() == 2


def test_that_another_pod_went_than_the_chosen_one_is_counted_and_told() -> None:
    world, working = busy(2, of=3)
    (idle,) = set(world.running()) - set(working)
    world.members[idle].created_at -= timedelta(hours=1)
    lowered(world, 2)
    world.visit()
    plan = world.visit()
    assert plan.outcome is not None
    assert (plan.outcome.victims_chosen, plan.outcome.victims_missed) == (1, 0)
    world.controller(blind=True)
    plan = world.visit()
    assert plan.outcome is not None
    assert plan.outcome.victims_missed == 1
    (event,) = [event for event in plan.events if event.reason == "ScaleInMismatch"]
    assert event.type == "Warning"
    assert idle in event.message
    assert plan.drain == frozenset()
    assert not any(pod.cost for pod in world.members.values())
    assert world.visit().outcome.victims_missed == 0  # type: ignore[union-attr] # as above


def test_chosen_pods_that_went_are_no_miss() -> None:
    world, _ = busy(2, of=4)
    lowered(world, 2)
    plans = [world.step() for _ in range(6)]
    assert sum(plan.outcome.victims_chosen for plan in plans if plan.outcome) == 2
    assert sum(plan.outcome.victims_missed for plan in plans if plan.outcome) == 0


def disturb(world: Fleet, action: str, name: str) -> None:
    """Something that happens to one worker, or to what is known of it."""
    match action:
        case "claim":
            world.claim(name)
        case "finish":
            world.finish(name)
        case "die":
            del world.members[name]
        case "unready":
            world.members[name].sick = not world.members[name].sick
            world.kubelet()
        case "wipe":
            world.marks.clear()
        case "restart":
            world.memory = type(world.memory)()
        case "visit":
            world.visit()
        case "step":
            world.step()


DISTURBANCES = ["claim", "claim", "finish", "die", "unready", "wipe", "restart", "visit", "step"]


@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("scale"), st.integers(0, 6)),
            st.tuples(st.sampled_from(DISTURBANCES), st.integers(0, 5)),
        ),
        max_size=40,
    )
)
@settings(max_examples=300)
def test_whatever_happens_no_busy_worker_goes_before_its_time_and_all_comes_to_rest(
    actions: list[tuple[str, int]],
) -> None:
    world, wanted = fleet(4, worker=WORKER), 4
    for action, number in actions:
        names = world.running()
        if action == "scale":
            wanted = number
            lowered(world, wanted)
        elif names:
            disturb(world, action, names[number % len(names)])
        # 40 steps of a second are less than drainTimeout.
        assert not world.stopped_busy
    for member in world.members.values():
        member.tasks, member.sick = 0, False
    for _ in range(10):
        world.step()
    assert len(world.running()) == wanted
    assert world.replicas_asked() == wanted
    assert not world.marks
    assert not any(pod.cost for pod in world.members.values())
