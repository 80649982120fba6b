"""Objects whose queue another system keeps: a real operator, a real API server, a real Redis."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import redis as blocking_redis
from redis.asyncio import Redis

from integration.operator.observer import SECRET, Observer, Woken, worker
from integration.operator.world import World
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.model.observed import QueueState, Worker
from opsagent_queue import connect

pytestmark = pytest.mark.integration

CELERY: dict[str, Any] = {"kind": "List", "key": "celery", "inFlightKey": "unacked"}
STREAM: dict[str, Any] = {"kind": "Stream", "key": "jobs", "group": "workers"}


@pytest.fixture
async def telling_client(client: Redis) -> AsyncIterator[Redis]:
    """Of a Redis that tells what is done to its keys."""
    await client.config_set("notify-keyspace-events", "Klzt")
    yield client
    await client.config_set("notify-keyspace-events", "")


def plain_worker(name: str = "jobs", **queue: Any) -> Worker:
    """An object with such a queue, on the Redis of the test."""
    ours = worker(name)
    assert isinstance(ours.spec, OpsAgentWorkerSpec)
    redis = ours.spec.queue.redis.model_dump(by_alias=True)
    spec = ours.spec.model_dump(by_alias=True, exclude_unset=True)
    spec["queue"] = {"redis": redis, **queue}
    return replace(ours, spec=OpsAgentWorkerSpec.model_validate(spec))


# What is seen.


async def test_a_list_is_read_with_what_is_in_flight(observer: Observer, client: Redis) -> None:
    await client.rpush("celery", "a", "b", "c")
    await client.hset("unacked", "x", "1")
    (state,) = await observer.visit(plain_worker(**CELERY))
    assert isinstance(state, QueueState)
    assert (state.pending, state.in_flight, state.task_aware) == (3, 1, False)
    assert state.run_id is not None


async def test_a_wrong_key_is_told_by_its_name(observer: Observer, client: Redis) -> None:
    await client.set("celery", "x")
    (state,) = await observer.visit(plain_worker(**CELERY))
    assert not isinstance(state, QueueState)
    assert state.reason == "WrongType"
    assert "key celery is a string and not a list" in state.message
    assert "spec.queue.kind" in state.message


async def test_a_replica_is_no_place_to_count(observer: Observer, client: Redis) -> None:
    await client.replicaof("127.0.0.1", 1)
    try:
        (state,) = await observer.visit(plain_worker(**CELERY))
    finally:
        await client.replicaof("NO", "ONE")
    assert not isinstance(state, QueueState)
    assert state.reason == "ReadOnly"


async def test_reading_leaves_nothing_in_redis(observer: Observer, client: Redis) -> None:
    await observer.visit(plain_worker(**CELERY), plain_worker("stream", **STREAM))
    assert await client.dbsize() == 0


# Who is woken.


async def test_a_redis_that_tells_of_its_keys_wakes_the_object(
    observer: Observer, telling_client: Redis
) -> None:
    await observer.follow(plain_worker(**CELERY), plain_worker("stream", **STREAM))
    await telling_client.lpush("celery", "a")
    await observer.until_woken(lambda woken: woken == [Woken("jobs", announced=True)])
    await telling_client.xadd("jobs", {"a": "1"})
    await observer.until_woken(lambda woken: Woken("stream", announced=True) in woken)


async def test_taking_a_task_wakes_nobody(observer: Observer, telling_client: Redis) -> None:
    await telling_client.lpush("celery", "a", "b")
    await observer.follow(plain_worker(**CELERY), plain_worker("stream", **STREAM))
    await telling_client.rpop("celery")
    # Had that woken anybody, it would be before this one.
    await telling_client.xadd("jobs", {"a": "1"})
    await observer.until_woken(bool)
    assert observer.woken[0] == Woken("stream", announced=True)


async def test_the_key_of_another_database_wakes_nobody(
    observer: Observer, telling_client: Redis, redis_url: str
) -> None:
    observer.secrets[SECRET] = {"REDIS_URL": redis_url.replace("/0", "/1")}
    await observer.follow(plain_worker(**CELERY), plain_worker("stream", **STREAM))
    await telling_client.lpush("celery", "a")
    async with connect(redis_url.replace("/0", "/1")) as other:
        await other.xadd("jobs", {"a": "1"})
    await observer.until_woken(bool)
    assert observer.woken[0] == Woken("stream", announced=True)


# What is done.


def test_the_depth_of_a_list_scales_a_deployment_and_the_status_says_what_is_missing(
    world: World,
) -> None:
    with blocking_redis.Redis.from_url(world.redis_url) as client:
        client.rpush("celery", *range(3))
        queue = world.manifest()["spec"]["queue"]
        world.create(
            queue={**queue, **CELERY},
            worker={"command": ["celery"], "args": ["worker", "--broker=$(REDIS_URL)"]},
        )
        world.until_replicas({"v1.0.0": 3})
        aware = world.until_condition("TaskAware", "False", "PlainQueue")
        assert "celery is a List" in aware["message"]
        (deployment,) = world.get("deploy")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["celery"]
        assert "readinessProbe" not in container

        # One task is being worked on: it keeps the last worker.
        client.delete("celery")
        client.hset("unacked", "x", "1")
        world.until_replicas({"v1.0.0": 1})
        client.delete("unacked")
        world.until_replicas({"v1.0.0": 0})
        assert client.dbsize() == 0, "the operator wrote into the Redis of somebody else"

        # This Redis tells nothing of its keys: they are looked at, also when all is at rest.
        client.rpush("celery", "x", "y")
        world.until_replicas({"v1.0.0": 2})
