"""When the status is written, and which events go with it."""

from dataclasses import replace

from fixtures.world import UNREACHABLE, V1, V2, World, make_queue
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.model.plan import Outcome


def running() -> World:
    world = World(queue=make_queue(pending=16))
    world.settle()
    return world


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.events]


def test_moving_numbers_are_written_together_and_the_last_ones_are_not_forgotten() -> None:
    world = running()
    world.tick(10)
    writes = world.status_writes
    for pending in (16, 15, 14, 13):
        world.queue = make_queue(
            pending=pending, held=dict.fromkeys(map(str, range(pending % 3)), 1)
        )
        world.visit()
        world.tick(1)
    assert world.status_writes == writes + 1
    plan = world.visit()
    assert plan.status is None
    assert plan.requeue_after.total_seconds() <= 1
    world.tick(2)
    world.visit()
    assert world.status["queue"]["pending"] == 13


def test_a_change_that_says_something_is_written_at_once() -> None:
    world = running()
    world.queue = UNREACHABLE
    assert world.visit().status is not None


def test_the_life_of_a_release_is_told_in_events_once_each() -> None:
    world = running()
    world.change(version=V2)
    world.settle()
    first, second = ["RevisionCreated", "ScaledUp", "Promoted"], ["RevisionCreated", "Promoted"]
    assert reasons(world) == [*first, *second]


def test_a_failed_release_is_a_warning_once() -> None:
    world = running()
    world.broken = {V2}
    world.change(version=V2)
    world.settle()
    warnings = [event for event in world.events if event.type == "Warning"]
    assert [event.reason for event in warnings] == ["ImagePullFailed"]


def test_an_outage_and_its_end_are_told() -> None:
    world = running()
    world.events.clear()
    world.queue = UNREACHABLE
    world.visit()
    world.visit()
    world.queue = make_queue(pending=16)
    world.visit()
    assert reasons(world) == ["QueueUnreachable", "QueueReachable"]


def test_a_pause_and_its_end_are_told() -> None:
    world = running()
    world.events.clear()
    world.change(paused=True)
    world.settle()
    world.change(paused=False)
    world.settle()
    assert reasons(world) == ["ScaledDown", "Paused", "ScaledUp", "Resumed"]


def test_the_decision_is_the_last_step_with_its_numbers_until_the_next_one() -> None:
    world = running()
    first = world.status["decision"]
    assert first["message"] == "16 due + 0 running / 4 per worker = 4 replicas; was 0"
    world.queue = make_queue(pending=14)
    world.settle()
    assert world.status["decision"] == first
    world.queue = make_queue(pending=2)
    world.visit()
    held = world.status["decision"]
    assert (held["action"], held["reason"]) == ("Hold", "StabilizationWindow")
    world.queue = make_queue(pending=15)
    world.tick(5)
    world.visit()
    assert world.status["decision"]["action"] == "Steady"
    assert world.replicas() == {V1: 4}


def test_what_holds_a_step_back_is_told_with_numbers_that_follow_the_queue() -> None:
    world = running()
    world.tick(10)
    world.queue = make_queue(pending=2)
    world.visit()
    first = world.status["decision"]
    assert first["message"].startswith("holding 4: 2 due + 0 running")
    writes = world.status_writes
    world.queue = make_queue(pending=1)
    world.tick(1)
    world.visit()
    assert world.status_writes == writes, "only numbers have moved, and not long ago"
    world.tick(4)
    world.visit()
    assert world.status_writes == writes + 1
    second = world.status["decision"]
    assert second["message"].startswith("holding 4: 1 due + 0 running")
    assert second["at"] == first["at"], "since when it is held"


def test_a_hold_that_does_not_change_is_not_written_again() -> None:
    world = running()
    world.tick(10)
    world.queue = make_queue(pending=2)
    world.visit()
    writes = world.status_writes
    for _ in range(5):
        world.tick(6)
        world.visit()
    assert world.status["decision"]["action"] == "Hold"
    assert world.status_writes == writes


def test_a_queue_that_wavers_around_the_number_of_workers_is_no_stream_of_writes() -> None:
    world = running()
    world.tick(10)
    writes = world.status_writes
    for look in range(100):
        world.queue = make_queue(pending=16 if look % 2 else 12)
        world.visit()
        world.tick(0.1)
    assert world.replicas() == {V1: 4}
    assert world.status_writes - writes <= 3


def test_a_queue_that_wavers_while_workers_cannot_start_is_no_stream_of_warnings() -> None:
    world = running()
    world.broken = {V1}
    world.kubelet()
    world.settle()
    world.events.clear()
    writes = world.status_writes
    for look in range(100):
        world.queue = make_queue(pending=20 + look if look % 2 else 16)
        world.visit()
        world.tick(0.1)
    assert world.replicas() == {V1: 4}
    assert world.status_writes - writes <= 3
    assert len(world.events) <= 3


def test_a_fallback_is_told_once() -> None:
    world = running()
    world.change(scaling={"whenUnknown": {"after": "30s", "replicas": 6}})
    world.settle()
    world.events.clear()
    world.queue = UNREACHABLE
    world.settle(visits=10, pause=10)
    assert world.replicas() == {V1: 6}
    assert reasons(world) == ["QueueUnreachable", "Fallback"]
    assert world.events[-1].type == "Warning"
    assert world.events[-1].message.endswith("(scaling.whenUnknown); was 4")
    assert world.condition("ScalingActive")["reason"] == "Fallback"
    world.queue = make_queue(pending=16)
    world.settle()
    assert world.condition("ScalingActive")["reason"] == "QueueDepth"


def test_a_queue_that_is_empty_after_a_restart_is_told_once_and_so_is_what_follows() -> None:
    world = running()
    world.queue = make_queue(pending=16, run_id="a")
    world.visit()
    world.events.clear()
    world.queue = make_queue(run_id="b")
    world.settle(visits=11, pause=10)
    assert reasons(world) == ["EmptyAfterRestart"]
    assert world.replicas() == {V1: 4}
    assert world.condition("ScalingActive")["reason"] == "EmptyAfterRestart"
    world.settle(visits=30, pause=10)
    assert reasons(world) == ["EmptyAfterRestart", *["ScaledDown"] * 3]
    assert world.replicas() == {V1: 0}


def test_workers_that_cannot_start_are_told_once() -> None:
    world = running()
    world.events.clear()
    world.broken = {V1}
    world.kubelet()
    world.queue = make_queue(pending=40)
    world.settle()
    assert world.replicas() == {V1: 4}
    assert reasons(world).count("WorkersCannotStart") == 1
    assert "4 of 4 workers cannot start" in world.status["decision"]["message"]
    assert world.condition("ScalingActive")["reason"] == "WorkersCannotStart"
    world.broken = set()
    world.kubelet()
    world.settle()
    assert world.replicas() == {V1: 10}
    assert world.condition("ScalingActive")["reason"] == "QueueDepth"


def test_what_woke_the_operator_stands_in_the_decision_and_in_the_event() -> None:
    world = running()
    world.events.clear()
    world.queue = make_queue(pending=20)
    plan = decide(replace(world.observe(), woken_by="task.created"), world.now)
    message = "20 due + 0 running / 4 per worker = 5 replicas; was 4; woken by task.created"
    assert [(event.reason, event.message) for event in plan.events] == [("ScaledUp", message)]
    assert plan.status is not None
    assert plan.status["decision"]["message"] == message


def test_the_decision_comes_with_its_numbers() -> None:
    world = running()
    world.queue = make_queue(pending=39, in_flight=1, held={"p": 1})
    outcome = world.visit().outcome
    assert outcome == Outcome(
        action="ScaleUp",
        reason="QueueDepth",
        wanted=10,
        current=4,
        desired=10,
        ready=4,
        busy=1,
        draining=0,
    )
    world.queue = UNREACHABLE
    outcome = world.visit().outcome
    assert outcome is not None
    assert (outcome.action, outcome.wanted, outcome.busy) == ("Hold", 10, None)
