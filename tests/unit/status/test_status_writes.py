"""When the status is written, and which events go with it."""

from fixtures.world import UNREACHABLE, V1, V2, World, make_queue


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
    world.visit()
    assert world.status["decision"]["action"] == "Steady"
    assert world.replicas() == {V1: 4}
