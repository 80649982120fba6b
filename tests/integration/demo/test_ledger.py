"""The demo's judgement of what became of tasks, and the producer it trusts."""

import json
from collections.abc import Iterator

import pytest
from redis import Redis

from demo.ledger import Announcements, fingerprint, take_stock
from demo.producer import Order, Producer
from fixtures.strict_reader import StrictTask
from opsagent_queue import Claim, Event, Finished, Keys, Retried, Task, TaskQueue, connect

pytestmark = pytest.mark.integration

KEYS = Keys(prefix="orchestrator", worker="demo/ops-agent")


@pytest.fixture
def redis(redis_url: str) -> "Iterator[Redis]":
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def orders(count: int) -> list[Order]:
    return [Order(type="monitor", payload={"n": number}) for number in range(count)]


def test_the_producer_writes_what_the_orchestrator_and_the_worker_read(redis: "Redis") -> None:
    pubsub = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # not annotated there
    pubsub.subscribe(*KEYS.channels("task.created"))
    pubsub.get_message(timeout=1)
    order = Order(type="deploy", payload={"project": "shop"}, priority="P0", assigned_to="ops")

    (task_id,) = Producer(redis).enqueue([order])

    record = redis.hgetall(KEYS.record(task_id))
    task = Task.decode(str(record["data"]))
    assert StrictTask.model_validate_json(str(record["data"])).task_id == task_id
    assert task.encode() == record["data"]
    assert (record["status"], record["priority"]) == ("pending", "P0")
    assert record["created_at"] == task.created_at
    assert redis.zscore(KEYS.tasks, task_id) == 1.0
    created = [pubsub.get_message(timeout=1) for _ in range(3)]
    heard = [Event.decode(message["data"]) for message in created if message]
    assert [event.task_id for event in heard] == [task_id, task_id]
    assert heard[0].payload == Event.created(task).payload


async def test_every_task_is_found_in_the_one_place_where_it_is(
    redis: "Redis", redis_url: str
) -> None:
    announcements = Announcements.of(redis, KEYS)
    ids = Producer(redis).enqueue(orders(6))
    async with connect(redis_url) as client:
        queue = TaskQueue(client, worker=KEYS.worker)
        claimed = await queue.claim(owner="w", version="v1", count=4, lease_ms=9000, token="t")
        done, broken, tried, running = (claim.task.task_id for claim in claimed.claims)
        await _finish(queue, claimed.claims[0], "")
        await _finish(queue, claimed.claims[1], "no such host")
        later = Retried(lease=claimed.claims[2].lease, delay_ms=60_000, error="later")
        assert await queue.retry([later], version="v1") == (True,)
    waiting, vanished = (task_id for task_id in ids if redis.zscore(KEYS.tasks, task_id))
    redis.zrem(KEYS.tasks, vanished)

    tally = take_stock(redis, KEYS, ids)

    assert tally.completed == {done}
    assert tally.failed == {broken: "no such host"}
    assert tally.waiting == {waiting, tried}
    assert tally.running == {running}
    assert tally.lost == {vanished}
    assert tally.final == {done, broken}
    assert not tally.finished
    announcements.read()
    assert announcements.ended == {done: 1, broken: 1}


async def _finish(queue: TaskQueue, claim: Claim, error: str) -> None:
    ended = Finished(
        lease=claim.lease,
        status="failed" if error else "completed",
        error=error or None,
        seconds=0.1,
    )
    assert await queue.finish([ended], version="v1", result_ttl_ms=60_000) == (True,)


def test_a_task_is_touched_when_its_record_or_its_place_changes(redis: "Redis") -> None:
    ids = Producer(redis).enqueue(orders(2))
    before = fingerprint(redis, KEYS, ids)
    assert fingerprint(redis, KEYS, ids) == before

    redis.zincrby(KEYS.tasks, 1, ids[0])
    redis.hset(KEYS.record(ids[1]), "data", json.dumps({"task_id": ids[1]}))

    after = fingerprint(redis, KEYS, ids)
    assert all(before[task_id] != after[task_id] for task_id in ids)
