"""The access rules of docs/redis.md: they suffice for everything, and none of their commands is too many."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from fixtures.access_rules import rule
from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import (
    Created,
    Event,
    Finished,
    Heartbeat,
    PlainQueue,
    Progress,
    QueueError,
    Subscribed,
    Subscription,
    TaskQueue,
    Woken,
    connect,
)
from opsagent_queue.scripts import load

pytestmark = pytest.mark.integration

WORKER: Final = "prod/ops-agent"

Operation = Callable[[Bench, Bench], Awaitable[None]]
"""Takes the bench of the limited user, and one that may do everything, for what comes before and after."""


async def looking_after_an_idle_connection(it: Bench, _: Bench) -> None:
    assert await it.client.ping()


async def claiming(it: Bench, all_: Bench) -> None:
    await all_.enqueue(*(all_.task() for _ in range(2)))
    first = await it.claim(2, token="a")
    assert len(first.claims) == 2
    assert await it.claim(2, token="a") == first
    assert (await it.claim()).claims == ()


async def claiming_past_what_cannot_run(it: Bench, all_: Bench) -> None:
    ended, lost, due = all_.task(), all_.task(), all_.task()
    await all_.enqueue(ended, lost, due)
    claims = {claim.task.task_id: claim for claim in (await all_.claim(3)).claims}
    await all_.retry(claims[due.task_id].lease)
    await all_.queue.release([claims[ended.task_id].lease, claims[lost.task_id].lease])
    await all_.client.hset(all_.queue.keys.record(ended.task_id), "status", "cancelled")
    await all_.client.delete(all_.queue.keys.record(lost.task_id))
    (claim,) = (await it.claim(3)).claims
    assert claim.task.task_id == due.task_id
    assert (await all_.queue.counters()) == {"orphaned": 1, "skipped": 1}


async def claiming_behind_other_agents(it: Bench, all_: Bench) -> None:
    await all_.enqueue(*(all_.task(assigned_to="dev", priority="P0") for _ in range(130)))
    task = all_.task()
    await all_.enqueue(task)
    (claim,) = (await it.claim()).claims
    assert claim.task.task_id == task.task_id


async def claiming_beside_what_is_queued_again(it: Bench, all_: Bench) -> None:
    again = await all_.claim_one()
    await all_.client.zadd(all_.queue.keys.tasks, {again.task.task_id: 3})
    assert (await it.claim()).claims == ()
    other = all_.task()
    await all_.enqueue(other)
    assert len((await it.claim(2, hints=[other.task_id])).claims) == 1
    await all_.finish(again.lease)
    assert (await it.claim()).claims == ()


async def claiming_a_record_that_is_no_task(it: Bench, all_: Bench) -> None:
    task = all_.task()
    await all_.enqueue(task)
    await all_.client.hset(all_.queue.keys.record(task.task_id), "data", '{"assigned_to": "ops"}')
    assert (await it.claim()).claims == ()
    assert await all_.field(task.task_id, "status") == "failed"


async def renewing(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    assert await it.renew(claim.lease) == frozenset()
    await all_.finish(claim.lease)
    assert await it.renew(claim.lease) == {claim.task.task_id}


async def finishing(it: Bench, all_: Bench) -> None:
    done, failed = await all_.claim_one(), await all_.claim_one()
    assert await it.finish(done.lease, result={"fine": True})
    assert await it.finish(done.lease, result={"fine": True})
    assert await it.finish(failed.lease, status="failed", error="x", error_class="X")
    letters = all_.queue.keys.own("dead")
    await all_.client.zadd(letters, {failed.task.task_id: 1})
    other = await all_.claim_one()
    assert await it.finish(other.lease, status="failed", error="x", error_class="X")
    assert await all_.client.zcard(letters) == 1


async def finishing_what_nobody_touched(it: Bench, all_: Bench) -> None:
    done = await all_.claim_one()
    assert await it.finish(done.lease, data=done.data, result={"fine": True})


async def finishing_with_more_kinds_of_errors_than_are_counted(it: Bench, all_: Bench) -> None:
    await all_.produce(*(all_.task() for _ in range(200)))
    failed = [
        Finished(lease=one.lease, status="failed", seconds=1, error="x", error_class=f"E{number}")
        for number, one in enumerate((await all_.claim(200)).claims)
    ]
    await all_.queue.finish(failed, version="v1", result_ttl_ms=LONG_MS)
    claim = await all_.claim_one()
    assert await it.finish(claim.lease, status="failed", error="x", error_class="Another")


async def retrying(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    assert await it.retry(claim.lease)


async def handing_back(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    assert await it.queue.release([claim.lease]) == 1


async def rescuing(it: Bench, all_: Bench) -> None:
    back, poisoned, lost = [await all_.claim_one() for _ in range(3)]
    await all_.client.hset(all_.queue.keys.history(poisoned.task.task_id), "crashes", "2")
    record = all_.queue.keys.record(lost.task.task_id)
    fields: dict[Any, Any] = await all_.client.hgetall(record)
    await all_.client.delete(record)
    await all_.expire(back.lease, poisoned.lease, lost.lease)
    reaped = await it.queue.reap()
    assert (reaped.requeued, reaped.dead) == (1, 1)
    await all_.client.hset(record, mapping=fields)
    await it.queue.reap()
    assert set(await all_.waiting()) == {back.task.task_id, lost.task.task_id}


async def publishing(it: Bench, _: Bench) -> None:
    await it.queue.publish([Event.new("health.degraded")])


async def beating(it: Bench, all_: Bench) -> None:
    await it.queue.heartbeat("pod-1", Heartbeat(version="v1", slots=1))
    assert set((await all_.queue.snapshot()).workers) == {"pod-1"}
    await it.queue.forget_worker("pod-1")
    assert (await all_.queue.snapshot()).workers == {}


async def counting(it: Bench, _: Bench) -> None:
    assert await it.queue.counters() == {}


async def observing(it: Bench, all_: Bench) -> None:
    await all_.enqueue(all_.task())
    await all_.claim_one()
    await all_.queue.heartbeat("pod-1", Heartbeat(version="v1", slots=1))
    snapshot = await it.queue.snapshot(soon_ms=LONG_MS, versions=["v1"])
    assert (snapshot.pending, snapshot.in_flight, len(snapshot.workers)) == (1, 1, 1)


async def observing_a_large_queue(it: Bench, all_: Bench) -> None:
    held = await all_.claim_one()
    await all_.produce(*(all_.task() for _ in range(450)))
    assert await all_.queue.index() == 0
    assert (await it.queue.snapshot()).pending == 450
    await all_.client.zadd(all_.queue.keys.tasks, {held.task.task_id: 3})
    await all_.queue.index()
    await all_.produce(all_.task())
    assert (await it.queue.snapshot()).pending == 451


async def observing_behind_other_agents(it: Bench, all_: Bench) -> None:
    await all_.produce(*(all_.task(assigned_to="dev") for _ in range(250)), all_.task())
    assert await all_.queue.index() == 0
    assert (await it.queue.snapshot()).pending == 1


async def telling_restarts_and_failovers(it: Bench, _: Bench) -> None:
    snapshot = await it.queue.snapshot()
    assert snapshot.run_id is not None
    assert snapshot.role is not None


async def noting(it: Bench, _: Bench) -> None:
    notes = it.queue.notes()
    await notes.put("a", "1", ttl_ms=LONG_MS)
    assert await notes.put_if_absent("a", "2", ttl_ms=LONG_MS) is False
    assert await notes.exchange("a", "3", ttl_ms=LONG_MS) == "1"
    assert await notes.get("a") == "3"
    await notes.forget("a")
    assert await notes.get("a") is None


async def telling_progress(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    assert await it.queue.progress().write([(claim.lease, Progress(fraction=0.5))]) == 1
    assert await it.queue.progress().write([], ended=[claim.lease]) == 1


async def reading_progress(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    await all_.queue.progress().write([(claim.lease, Progress(fraction=0.5))])
    assert set(await it.queue.progress().read()) == {claim.task.task_id}


async def being_woken(it: Bench, all_: Bench) -> None:
    async with it.queue.wakeups() as wakeups:
        # What is refused here is only logged, and tried again for ever.
        await it.client.connection_pool.disconnect()
        async with it.client.pubsub() as pubsub:
            await pubsub.subscribe(it.queue.keys.wake, *it.queue.keys.channels("task.created")[:1])
            assert await pubsub.get_message(timeout=5) is not None
        assert await anext(wakeups) == Subscribed()
        task = all_.task()
        await all_.enqueue(task)
        assert await anext(wakeups) == Created(task.task_id)
        await all_.queue.set_paused(True)
        await all_.queue.set_paused(False)
        assert await anext(wakeups) == Woken()


async def following_channels(it: Bench, all_: Bench) -> None:
    created, cancelled, wake = (
        *(it.queue.keys.channels(name)[0] for name in ("task.created", "task.cancelled")),
        it.queue.keys.wake,
    )
    async with Subscription(it.client, [created, wake]) as subscription:
        assert await anext(subscription) == Subscribed()
        subscription.remove(wake)
        subscription.add(cancelled)
        assert await anext(subscription) == Subscribed((cancelled,))
        assert await all_.client.pubsub_numsub(created, wake) == [(created, 1), (wake, 0)]


async def indexing(it: Bench, all_: Bench) -> None:
    held, ended = await all_.claim_one(), all_.task()
    await TaskQueue(all_.client, worker=WORKER, agents=["dev"]).index()
    await all_.produce(*(all_.task() for _ in range(20)), all_.task(assigned_to="dev"), ended)
    await all_.client.zadd(all_.queue.keys.tasks, {held.task.task_id: 3, "without-a-record": 3})
    await all_.client.hset(all_.queue.keys.record(ended.task_id), "status", "completed")
    assert await it.queue.index() == 0
    await all_.client.zrem(all_.queue.keys.tasks, held.task.task_id)
    assert await it.queue.index() == 0
    waiting = set(await all_.client.zrange(all_.queue.keys.tasks, 0, -1))
    assert len(waiting) == 21
    assert not waiting & {"without-a-record", ended.task_id}
    await all_.client.delete(all_.queue.keys.tasks)
    await all_.claim()
    await it.queue.index()


async def pausing(it: Bench, all_: Bench) -> None:
    await it.queue.set_paused(True)
    assert (await all_.claim()).paused
    await it.queue.set_paused(False)


async def marking(it: Bench, all_: Bench) -> None:
    await it.queue.set_drain_marks(["pod-1", "pod-2"])
    assert (await it.queue.snapshot()).marked == {"pod-1", "pod-2"}
    await it.queue.set_drain_marks(["pod-2"])
    assert (await all_.claim(owner="pod-2")).draining


async def being_marked(it: Bench, all_: Bench) -> None:
    await all_.queue.set_drain_marks(["pod-1"])
    assert (await it.claim(owner="pod-1")).draining


async def naming_a_key_of_the_wrong_type(it: Bench, _: Bench) -> None:
    for key in it.queue.keys.vector:
        assert await it.client.type(key) == "none"


async def filling_the_index(it: Bench, all_: Bench) -> None:
    await all_.enqueue(all_.task(), all_.task(assigned_to="dev"))
    assert await it.queue.index() == 0


async def reading_what_ended(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    await all_.finish(claim.lease, status="failed", error="x", error_class="X")
    (ended,) = await it.queue.recent()
    (letter,) = await it.queue.dead_letters(limit=10)
    assert ended.task_id == letter.task_id == claim.task.task_id


async def reading_results(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    await all_.finish(claim.lease)
    assert (await it.queue.results("v1", minutes=2)).ok == 1


async def enqueueing(it: Bench, _: Bench) -> None:
    task = it.task()
    assert await it.queue.enqueue(task)
    assert not await it.queue.enqueue(task)


async def cancelling(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    assert await it.queue.cancel(claim.task.task_id) == "cancelling"
    waiting = all_.task()
    await all_.enqueue(waiting)
    assert await it.queue.cancel(waiting.task_id) == "cancelled"


async def looking_at_the_dead(it: Bench, all_: Bench) -> None:
    claim = await all_.claim_one()
    await all_.finish(claim.lease, status="failed", error="x", error_class="X")
    (letter,) = await it.queue.dead_letters(limit=10)
    assert letter.task_id == claim.task.task_id


async def dealing_with_the_dead(it: Bench, all_: Bench) -> None:
    ids = []
    for _ in range(2):
        claim = await all_.claim_one()
        await all_.finish(claim.lease, status="failed", error="x", error_class="X")
        ids.append(claim.task.task_id)
    assert len(await it.queue.dead_letters(limit=10)) == 2
    assert (await it.queue.replay(ids[:1])).replayed == {ids[0]}
    assert await it.queue.drop(ids[1:]) == 1


async def reading_a_list_of_another_system(it: Bench, all_: Bench) -> None:
    celery = PlainQueue(it.client, "List", "celery", in_flight_key="unacked")
    await all_.client.rpush("celery", "a", "b")
    for fill in (
        "RPUSH unacked x",
        "SADD unacked x",
        "ZADD unacked 1 x",
        "HSET unacked x 1",
        "XADD unacked * x 1",
    ):
        await all_.client.delete("unacked")
        await all_.client.execute_command(*fill.split())  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        depth = await celery.read()
        assert (depth.waiting, depth.in_flight) == (2, 1)
    assert None not in {depth.run_id, depth.role}


async def reading_a_sorted_set_of_another_system(it: Bench, all_: Bench) -> None:
    await all_.client.zadd("celery", {"now": 1, "later": 1e15})
    depth = await PlainQueue(it.client, "SortedSet", "celery").read()
    assert (depth.waiting, depth.delayed) == (1, 1)


async def reading_a_stream_of_another_system(it: Bench, all_: Bench) -> None:
    await all_.client.xadd("celery", {"a": "1"})
    depth = await PlainQueue(it.client, "Stream", "celery", group="workers").read()
    assert depth.waiting == 1


async def hearing_of_a_key(it: Bench, _: Bench) -> None:
    async with it.client.pubsub() as pubsub:
        await pubsub.subscribe("__keyspace@0__:celery")
        assert await pubsub.get_message(timeout=5) is not None
        await pubsub.unsubscribe("__keyspace@0__:celery")
        assert await pubsub.get_message(timeout=5) is not None


WORKER_OPERATIONS: Final = (
    looking_after_an_idle_connection,
    claiming,
    claiming_past_what_cannot_run,
    claiming_behind_other_agents,
    claiming_beside_what_is_queued_again,
    claiming_a_record_that_is_no_task,
    being_marked,
    renewing,
    finishing,
    finishing_what_nobody_touched,
    finishing_with_more_kinds_of_errors_than_are_counted,
    retrying,
    handing_back,
    rescuing,
    publishing,
    beating,
    counting,
    observing,
    observing_a_large_queue,
    observing_behind_other_agents,
    noting,
    telling_progress,
    being_woken,
    reading_what_ended,
    looking_at_the_dead,
    enqueueing,
)
OPERATOR_OPERATIONS: Final = (
    looking_after_an_idle_connection,
    observing,
    observing_a_large_queue,
    observing_behind_other_agents,
    telling_restarts_and_failovers,
    pausing,
    marking,
    being_woken,
    following_channels,
    indexing,
    naming_a_key_of_the_wrong_type,
    reading_results,
)
PLAIN_OPERATIONS: Final = (
    looking_after_an_idle_connection,
    reading_a_list_of_another_system,
    reading_a_sorted_set_of_another_system,
    reading_a_stream_of_another_system,
    hearing_of_a_key,
)
PEOPLES_OPERATIONS: Final = (
    looking_after_an_idle_connection,
    observing,
    observing_a_large_queue,
    observing_behind_other_agents,
    counting,
    pausing,
    reading_progress,
    reading_what_ended,
    enqueueing,
    cancelling,
    dealing_with_the_dead,
)
OPERATIONS: Final[Mapping[str, tuple[Operation, ...]]] = {
    "opsagent-worker": WORKER_OPERATIONS,
    "opsagent-operator": OPERATOR_OPERATIONS,
    "opsagent-plain": PLAIN_OPERATIONS,
    "opsagent-admin": PEOPLES_OPERATIONS,
}


def grants() -> list[tuple[str, str]]:
    """Each single thing that some rule grants: user, and command, key or channel."""
    return [(user, word) for user in OPERATIONS for word in rule(user) if word[0] in "+~&"]


async def set_user(client: Redis, *rules: str) -> None:
    await client.execute_command("ACL", "SETUSER", "limited", *rules, ">word")  # type: ignore[no-untyped-call] # redis-py leaves it untyped


@asynccontextmanager
async def limited(url: str) -> AsyncIterator[Bench]:
    """A bench of its own connections, which are made under the rule that holds now."""
    async with connect(url.replace("redis://", "redis://limited:word@")) as client:
        yield Bench(TaskQueue(client, worker=WORKER), client, _tokens=1000)


async def problem(operation: Operation, bench: Bench, url: str) -> str | None:
    """What goes wrong with `operation` on an empty Redis that knows no script; None if nothing does."""
    await bench.client.flushall()
    await bench.client.script_flush()
    try:
        async with limited(url) as it:
            await operation(it, bench)
    except (QueueError, RedisError, AssertionError) as error:
        return f"{operation.__name__}: {error!r} {error}"
    return None


@pytest.mark.parametrize("user", OPERATIONS)
async def test_a_rule_suffices_for_everything_its_user_does(
    user: str, bench: Bench, redis_url: str
) -> None:
    await set_user(bench.client, *rule(user))
    for operation in OPERATIONS[user]:
        assert await problem(operation, bench, redis_url) is None


@pytest.mark.parametrize(("user", "granted"), grants())
async def test_without_any_one_thing_a_rule_grants_something_fails(
    user: str, granted: str, bench: Bench, redis_url: str
) -> None:
    await set_user(bench.client, *(word for word in rule(user) if word != granted))
    for operation in OPERATIONS[user]:
        async with asyncio.timeout(20):
            if await problem(operation, bench, redis_url) is not None:
                return
    pytest.fail(f"{user} does not need {granted}")


@pytest.mark.parametrize("user", OPERATIONS)
async def test_nobody_may_do_anything_else(user: str, bench: Bench, redis_url: str) -> None:
    await set_user(bench.client, *rule(user))
    async with limited(redis_url) as it:
        for forbidden in ("FLUSHALL", "KEYS *", "CONFIG GET *", "ACL LIST", "SHUTDOWN", "MONITOR"):
            with pytest.raises(NoPermissionError):
                await it.client.execute_command(*forbidden.split())  # type: ignore[no-untyped-call] # redis-py leaves it untyped
        with pytest.raises(NoPermissionError):
            await it.client.hgetall("somebody:else")
        with pytest.raises(NoPermissionError):
            await it.client.hgetall("opsagent:{prod/other}:claims")
        with pytest.raises(NoPermissionError):
            await it.client.eval("return redis.call('HGETALL', KEYS[1])", 1, "somebody:else")


async def test_a_database_of_ones_own_needs_one_more_command(bench: Bench, redis_url: str) -> None:
    url = redis_url.replace("/0", "/1")
    await set_user(bench.client, *rule("opsagent-worker"))
    async with limited(url) as it:
        with pytest.raises(QueueError, match="select"):
            await it.queue.counters()
    await set_user(bench.client, *rule("opsagent-worker"), "+select")
    async with limited(url) as it:
        assert await it.queue.counters() == {}


def test_the_workers_rule_has_every_command_of_the_scripts_it_runs() -> None:
    """Also those on ways that are rarely taken. INFO is asked for where it may be, and not missed."""
    scripts = ("claim", "renew", "finish", "retry", "release", "reap", "publish", "heartbeat")
    called = {
        f"+{command.lower()}"
        for name in (*scripts, "complete", "index", "snapshot", "progress", "results")
        for command in re.findall(r"(?:redis\.p?call\(|with_all\(\w+, )'([A-Z]+)'", load(name).text)
    }
    assert called - set(rule("opsagent-worker")) == {"+info"}


def test_every_operation_of_the_queue_is_among_those_tried() -> None:
    here = Path(__file__).read_text()
    operations = {name for name in vars(TaskQueue) if not name.startswith("_")}
    assert {name for name in operations if f".{name}(" not in here} == set()
