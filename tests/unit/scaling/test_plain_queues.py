"""Objects whose queue another system keeps: scaled and released as any, and told what is missing."""

from dataclasses import replace
from typing import Any

import pytest

from fixtures.world import UNREACHABLE, V1, V2, World, make_queue, make_spec
from opsagent_operator.decide.polls import PLAIN
from opsagent_operator.model.observed import QueueState, WorkerState

REDIS = {"urlFrom": {"secretKeyRef": {"name": "jobs", "key": "REDIS_URL"}}}
CELERY = {"redis": REDIS, "kind": "List", "key": "celery"}
SCALING = {"tasksPerReplica": 4, "scaleDown": {"stabilization": "0s", "cooldownToZero": "1m"}}


def plain(**fields: Any) -> QueueState:
    """What `observe` makes of the depth of such a queue."""
    return make_queue(task_aware=False, in_flight=None, **fields)


def settled(depth: QueueState, **fields: Any) -> World:
    world = World(spec=make_spec(**{"queue": CELERY, "scaling": SCALING, **fields}), queue=depth)
    world.settle()
    return world


# Scaling.


def test_its_depth_decides_how_many_workers_there_are() -> None:
    world = settled(plain(pending=10))
    assert world.replicas() == {V1: 3}
    message = world.status["decision"]["message"]
    assert message.startswith("10 waiting / 4 per worker = 3 replicas")


def test_what_is_in_flight_counts_where_it_is_known() -> None:
    world = settled(replace(plain(pending=3), in_flight=6))
    assert world.replicas() == {V1: 3}
    assert "3 waiting + 6 running / 4 per worker" in world.status["decision"]["message"]


def test_running_tasks_keep_the_last_worker() -> None:
    world = settled(replace(plain(pending=3), in_flight=0))
    world.queue = replace(plain(), in_flight=1)
    world.settle(pause=60)
    assert world.replicas() == {V1: 1}
    world.queue = replace(plain(), in_flight=0)
    world.settle(pause=60)
    assert world.replicas() == {V1: 0}


def test_it_goes_to_zero_and_comes_back_without_marks_and_costs() -> None:
    world = settled(plain(pending=16))
    world.queue = plain()
    for _ in range(20):
        plan = world.visit()
        assert (plan.drain, plan.pods, plan.pause_intake) == (None, (), None)
        world.kubelet()
        world.tick(20)
    assert world.replicas() == {V1: 0}
    world.queue = plain(pending=1)
    world.settle()
    assert world.replicas() == {V1: 1}


def test_a_drain_that_was_begun_is_given_up_when_the_queue_becomes_a_plain_one() -> None:
    """Nobody would ever be seen to have finished."""
    world = settled(plain(pending=16))
    pods = {pod.name: world.now for pod in world.observe().pods[:2]}
    world.memory = replace(world.memory, draining_since=pods)
    world.queue = plain(pending=8)
    world.settle()
    assert world.replicas() == {V1: 2}
    assert world.memory.draining_since == {}


def test_an_unknown_depth_takes_no_worker_away() -> None:
    world = settled(plain(pending=16))
    world.queue = UNREACHABLE
    world.settle(pause=60)
    assert world.replicas() == {V1: 4}


def test_a_queue_that_is_empty_since_a_failover_is_not_believed_at_once() -> None:
    world = settled(plain(pending=16, run_id="a"))
    world.queue = plain(run_id="b")
    world.settle(visits=3, pause=10)
    assert world.replicas() == {V1: 4}


def test_it_is_looked_at_every_few_seconds() -> None:
    world = settled(plain())
    assert world.visit().requeue_after <= PLAIN
    world = World(queue=make_queue())
    world.settle(pause=60)
    assert world.visit().requeue_after > PLAIN


def test_paused_takes_the_workers_away_and_closes_no_gate() -> None:
    world = settled(plain(pending=16))
    world.change(queue=CELERY, scaling=SCALING, paused=True)
    assert world.visit().pause_intake is None
    assert world.replicas() == {V1: 0}


# Releases.


def test_a_new_version_takes_over_when_its_container_runs() -> None:
    world = settled(plain(pending=16))
    world.change(queue=CELERY, scaling=SCALING, version=V2)
    world.settle()
    assert world.replicas()[V2] == 4
    assert world.replicas()[V1] == 0


def test_a_version_that_cannot_start_costs_one_pod() -> None:
    world = settled(plain(pending=16))
    world.broken = {V2}
    world.change(queue=CELERY, scaling=SCALING, version=V2)
    world.settle()
    assert world.replicas() == {V1: 4, V2: 1}


# What is told.


def test_the_status_has_only_numbers_that_are_known() -> None:
    world = settled(plain(pending=16))
    assert world.status["queue"] == {"pending": 16, "delayed": 0}
    assert world.status["workers"] == {"desired": 4, "ready": 4}


@pytest.mark.parametrize(
    ("queue", "names_the_missing_key"),
    [
        (CELERY, True),
        ({**CELERY, "inFlightKey": "unacked"}, False),
        ({"redis": REDIS, "kind": "Stream", "key": "celery", "group": "g"}, False),
    ],
)
def test_the_status_says_what_is_missing(
    queue: dict[str, Any], names_the_missing_key: bool
) -> None:
    world = settled(plain(pending=1), queue=queue)
    condition = world.condition("TaskAware")
    assert (condition["status"], condition["reason"]) == ("False", "PlainQueue")
    assert f"celery is a {queue['kind']}" in condition["message"]
    assert ("inFlightKey" in condition["message"]) == names_the_missing_key
    assert world.condition("Ready")["status"] == "True"


def test_what_is_missing_does_not_depend_on_whether_redis_answers() -> None:
    world = settled(plain(pending=1))
    before = world.condition("TaskAware")
    world.queue = UNREACHABLE
    world.visit()
    assert world.condition("TaskAware") == before


# Workers that do not report to the orchestrator's queue.


def reporting(world: World) -> QueueState:
    """The queue when every worker has sent a heartbeat."""
    pods = [pod.name for pod in world.observe().pods]
    states = {pod: WorkerState(slots=4, version=V1) for pod in pods}
    assert isinstance(world.queue, QueueState)
    return replace(world.queue, workers=states)


def aware(world: World) -> tuple[str, str]:
    condition = world.condition("TaskAware")
    return condition["status"], condition["reason"]


def silent_for(seconds: float) -> World:
    """Workers are ready, and none reports."""
    world = World(queue=make_queue(pending=8))
    world.settle(pause=1)
    world.tick(seconds)
    world.settle(pause=1)
    return world


def test_an_orchestrators_queue_tells_who_holds_what() -> None:
    world = World(queue=make_queue(pending=8))
    world.settle(pause=1)
    world.queue = reporting(world)
    world.settle(pause=60)
    assert aware(world) == ("True", "LeasesVisible")


def test_workers_have_a_minute_for_their_first_heartbeat() -> None:
    assert aware(silent_for(20)) == ("True", "LeasesVisible")


def test_workers_that_never_report_are_told_and_scaled_all_the_same() -> None:
    world = silent_for(60)
    assert aware(world) == ("False", "NoHeartbeat")
    assert world.replicas() == {V1: 2}
    assert world.condition("Ready")["status"] == "True"


def test_no_heartbeat_is_told_once_and_not_again_with_each_worker() -> None:
    world = silent_for(60)
    world.queue = make_queue()
    world.settle(pause=60)
    assert world.replicas() == {V1: 0}
    since = world.condition("TaskAware")["lastTransitionTime"]
    world.queue = make_queue(pending=8)
    world.settle(pause=1)
    world.memory = type(world.memory)()  # another operator
    world.settle(pause=1)
    assert aware(world) == ("False", "NoHeartbeat")
    assert world.condition("TaskAware")["lastTransitionTime"] == since


def test_the_first_heartbeat_ends_it() -> None:
    world = silent_for(60)
    world.queue = reporting(world)
    world.visit()
    assert aware(world) == ("True", "LeasesVisible")


def test_a_redis_that_lost_all_heartbeats_is_given_time_for_new_ones() -> None:
    world = World(queue=make_queue(pending=8))
    world.settle(pause=1)
    empty = world.queue
    world.queue = reporting(world)
    world.settle(pause=60)
    world.queue = empty
    world.settle(pause=1)
    assert aware(world) == ("True", "LeasesVisible")


def test_an_object_whose_workers_do_not_report_yet_is_visited_until_that_is_told() -> None:
    """Else it would rest, and nobody would look whether a heartbeat has come."""
    spec = make_spec(scaling={"minReplicas": 1})
    world = World(spec=spec, queue=make_queue())
    world.settle(pause=1)
    assert not world.visit().at_rest
    world.queue = reporting(world)
    world.settle(pause=60)
    assert world.visit().at_rest


def test_a_steady_object_is_not_written() -> None:
    for world in (silent_for(60), settled(plain(pending=16))):
        writes = world.status_writes
        world.settle(pause=60)
        assert world.status_writes == writes
