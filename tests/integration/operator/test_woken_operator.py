"""The whole operator, told by Redis alone: its polls are hours away."""

from collections.abc import Mapping

import pytest
import redis

from fixtures.redis import RedisServer
from integration.operator.world import WORKER, World, eventually
from opsagent_queue import Event, Task, score

pytestmark = pytest.mark.integration

HOURS = "36000"
KEPT = {"scaleDown": {"stabilization": "1h"}, "tasksPerReplica": 1, "maxReplicas": 100}
"""Nothing goes while the test looks."""


@pytest.fixture
def told(idle_world: World) -> World:
    """A world whose operator polls never, with an object at rest."""
    idle_world.operator.configure(OPSAGENT_ACTIVE_POLL=HOURS, OPSAGENT_IDLE_POLL=HOURS)
    idle_world.operator.start()
    idle_world.operator.wait_until_ready()
    idle_world.create(scaling=KEPT)
    idle_world.until_condition("Ready", "True")
    eventually(lambda: idle_world.operator.metric("opsagent_operator_redis_subscribed") == 1)
    return idle_world


def announce(world: World, count: int) -> None:
    """Tasks as the orchestrator adds them, in one go."""
    tasks = [Task.new(type="monitor", payload={}, assigned_to="ops") for _ in range(count)]
    with redis.Redis.from_url(world.redis_url) as client, client.pipeline() as to:
        for task in tasks:
            to.hset(f"orchestrator:task:{task.task_id}", "data", task.encode())
            to.zadd("orchestrator:tasks", {task.task_id: score(task.priority)})
            to.publish("orchestrator:events:task.created", Event.created(task).encode())
        to.execute()


def visits(world: World) -> float:
    return world.operator.metric("controller_runtime_reconcile_total")


def labels(world: World, name: str = WORKER) -> Mapping[str, str]:
    return {"namespace": world.namespace, "name": name}


def test_announced_tasks_get_all_their_workers_in_one_write(told: World) -> None:
    told.clear_queue()
    with told.writes() as writes:
        announce(told, 20)
        told.until_replicas({"v1.0.0": 20})
        told.until_condition("Ready", "True")
    (deployment,) = told.get("deploy")
    name = deployment["metadata"]["name"]
    assert writes.count(("patch", f"deployments/{name}")) == 1
    arrivals = "opsagent_operator_arrival_to_scale_seconds"
    assert told.operator.metric(f"{arrivals}_count") == 1
    assert told.operator.metric(f"{arrivals}_sum") > 0
    eventually(lambda: "woken by task.created" in told.worker()["status"]["decision"]["message"])


def test_thousands_of_tasks_cause_a_handful_of_visits(told: World) -> None:
    told.patch(replicas=1)
    told.until_replicas({"v1.0.0": 1})
    before = visits(told)
    for _ in range(10):
        announce(told, 500)
    eventually(lambda: told.operator.metric("opsagent_operator_snapshot_age_seconds") < 1)
    assert visits(told) - before < 500


def test_when_redis_is_back_the_queue_is_read_at_once(
    told: World, redis_server: RedisServer
) -> None:
    redis_server.kill()
    eventually(lambda: told.operator.metric("opsagent_operator_redis_subscribed") == 0)
    told.patch(paused=True)  # a reason to look
    told.until_condition("QueueReachable", "False")
    redis_server.start()
    told.until_condition("QueueReachable", "True")
    told.patch(paused=False)
    announce(told, 4)
    told.until_replicas({"v1.0.0": 4})
    assert told.operator.metric("opsagent_operator_redis_reconnects_total") == 1


def test_metrics_tell_of_each_object_until_it_is_gone_and_nothing_secret(told: World) -> None:
    announce(told, 3)
    told.until_replicas({"v1.0.0": 3})
    told.create("other", scaling=KEPT)
    told.until_condition("Ready", "True", name="other")

    def look() -> bool:
        metric = told.operator.metric
        assert metric("opsagent_operator_workers_wanted", **labels(told)) == 3
        assert metric("opsagent_operator_workers_desired", **labels(told)) == 3
        assert metric("opsagent_operator_workers_ready", **labels(told)) == 3
        assert metric("opsagent_operator_workers_busy", **labels(told)) == 0
        assert metric("opsagent_operator_workers_draining", **labels(told)) == 0
        assert metric("opsagent_operator_decisions_total", action="ScaleUp") >= 1
        return True

    eventually(look)
    page = told.operator.get("/metrics").text
    assert f'redis="{told.redis_url.removeprefix("redis://")}"' in page
    assert 'name="other"' in page
    told.run("delete", "oaw", "other")
    eventually(lambda: 'name="other"' not in told.operator.get("/metrics").text)
    assert told.operator.metric("opsagent_operator_workers_wanted", **labels(told)) == 3


def test_many_objects_need_three_connections(told: World) -> None:
    names = {f"many-{number}" for number in range(20)}
    for name in sorted(names):
        told.create(name, scaling=KEPT)
    for name in sorted(names):
        told.until_condition("Ready", "True", name=name)
    with redis.Redis.from_url(told.redis_url) as client:
        found = [one for one in client.client_list() if one["name"] == "opsagent-operator"]
    assert len(found) <= 3
    assert [one["sub"] for one in found].count("1") == 1
