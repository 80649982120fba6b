"""A Redis that is there and does not serve: out of memory, loading, frozen, flushed, closed to us."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from fixtures.queue_bench import LONG_MS, Bench
from fixtures.redis import RedisServer
from opsagent_queue import (
    Created,
    Event,
    Heartbeat,
    QueueRefusedError,
    QueueUnavailableError,
    Subscribed,
    TaskQueue,
    connect,
)

pytestmark = pytest.mark.integration

WORKER = "prod/ops-agent"


@pytest.fixture
async def full(bench: Bench) -> AsyncIterator[Bench]:
    """Six waiting tasks in a Redis that `run_out_of_memory` fills."""
    await bench.enqueue(*(bench.task() for _ in range(6)))
    yield bench
    await bench.client.config_set("maxmemory", "0")


async def run_out_of_memory(bench: Bench) -> None:
    await bench.client.config_set("maxmemory", "1")


async def test_without_memory_nothing_new_is_begun(full: Bench) -> None:
    due, *_ = [claim.lease for claim in (await full.claim(2)).claims]
    await full.retry(due)
    await run_out_of_memory(full)
    with pytest.raises(QueueRefusedError, match="maxmemory is reached"):
        await full.queue.enqueue(full.task())
    with pytest.raises(QueueRefusedError, match="maxmemory is reached"):
        await full.claim()
    assert len(await full.waiting()) == 4
    await full.client.config_set("maxmemory", "0")
    assert len((await full.claim(6)).claims) == 5


async def test_without_memory_what_runs_goes_on_and_ends(full: Bench) -> None:
    kept, done, failed, again, back = [c.lease for c in (await full.claim(5)).claims]
    await run_out_of_memory(full)

    assert await full.renew(kept, done, failed, again, back) == frozenset()
    assert await full.finish(done, result={"text": "x" * 1000})
    assert await full.finish(failed, status="failed", error="x", error_class="X")
    assert await full.retry(again)
    assert await full.queue.release([back]) == 1
    await full.queue.publish([Event.new("health.degraded")])
    await full.queue.heartbeat("pod-1", Heartbeat(version="v1", slots=4))
    await full.queue.set_paused(True)
    await full.queue.set_paused(False)

    snapshot = await full.queue.snapshot()
    assert (snapshot.pending, snapshot.in_flight, snapshot.delayed) == (3, 1, 0)
    assert (snapshot.dead, snapshot.busy, set(snapshot.workers)) == (1, {"pod-1": 1}, {"pod-1"})
    assert (await full.data(done.task_id)).metadata["result"] == {"text": "x" * 1000}


async def test_without_memory_leases_of_the_dead_are_still_brought_back(full: Bench) -> None:
    (claim,) = (await full.claim()).claims
    await full.expire(claim.lease)
    await run_out_of_memory(full)
    assert (await full.queue.reap()).requeued == 1
    # Nor does a report that comes too late keep others from being heard.
    assert await full.finish(claim.lease) is False


async def test_without_memory_a_running_task_can_be_cancelled(full: Bench) -> None:
    (claim,) = (await full.claim()).claims
    await run_out_of_memory(full)
    assert await full.queue.cancel(claim.task.task_id) == "cancelling"
    renewed = await full.queue.renew([claim.lease], lease_ms=LONG_MS)
    assert renewed.cancelled == {claim.task.task_id}


async def test_a_frozen_redis_is_unavailable_and_goes_on_where_it_was(
    redis_server: RedisServer,
) -> None:
    client = connect(redis_server.url, socket_timeout=0.1)
    bench = Bench(TaskQueue(client, worker=WORKER), client)
    claim = await bench.claim_one()
    redis_server.freeze()
    try:
        with pytest.raises(QueueUnavailableError):
            await bench.finish(claim.lease)
        with pytest.raises(QueueUnavailableError):
            await bench.claim(token="sent-while-frozen")
    finally:
        redis_server.thaw()
    # What was sent meanwhile is carried out late, by itself, and once.
    assert await bench.finish(claim.lease)
    assert (await bench.claim(token="sent-while-frozen")).claims == ()
    assert (await bench.data(claim.task.task_id)).status == "completed"
    assert await bench.queue.counters() == {}
    await client.aclose()


async def test_a_note_holds_nobody_up_while_redis_is_frozen(
    redis_server: RedisServer, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = bench.queue.notes()
    await notes.put("a", "1", ttl_ms=LONG_MS)
    redis_server.freeze()
    try:
        with monkeypatch.context() as impatient:
            impatient.setattr("opsagent_queue.notes._SECONDS", 0.1)
            with pytest.raises(QueueUnavailableError, match="did not answer in time"):
                await notes.get("a")
    finally:
        redis_server.thaw()
    assert await notes.get("a") == "1"


@pytest.mark.redis7  # younger than that, it cannot be made to load slowly
async def test_a_redis_that_is_loading_is_unavailable_until_it_has(tmp_path: Path) -> None:
    slow = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    server = RedisServer(tmp_path, *slow)
    server.start()
    client = connect(server.url)
    bench = Bench(TaskQueue(client, worker=WORKER), client)
    claim = await bench.claim_one()
    await client.mset({f"filler:{number}": "x" * 100 for number in range(1000)})
    await client.save()
    server.kill()
    server.start(wait=False)
    try:
        told = set()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await bench.finish(claim.lease)
                    break
                except QueueUnavailableError as error:
                    told.add("loading" in str(error))
        assert True in told
    finally:
        await client.aclose()
        server.kill()


async def test_after_a_flush_nothing_false_is_told_and_new_tasks_are_served(bench: Bench) -> None:
    held, ended = await bench.claim_one(), await bench.claim_one()
    await bench.enqueue(bench.task())
    async with bench.queue.wakeups() as wakeups:
        assert await anext(wakeups) == Subscribed()
        await bench.client.flushall()

        assert await bench.renew(held.lease, ended.lease) == {
            held.task.task_id,
            ended.task.task_id,
        }
        assert await bench.finish(ended.lease) is False
        assert await bench.retry(held.lease) is False
        assert await bench.queue.release([held.lease]) == 0
        assert await bench.client.exists(bench.queue.keys.record(ended.task.task_id)) == 0
        reaped = await bench.queue.reap()
        assert (reaped.requeued, reaped.dead, reaped.promoted) == (0, 0, 0)
        assert (await bench.claim()).claims == ()
        snapshot = await bench.queue.snapshot()
        assert (snapshot.pending, snapshot.in_flight, snapshot.orphaned) == (0, 0, 0)

        new = await bench.claim_one()
        assert await anext(wakeups) == Created(new.task.task_id)
        assert await bench.finish(new.lease)


async def test_a_lease_from_before_a_flush_never_matches_one_made_after_it(bench: Bench) -> None:
    """The counter is lost with everything else, or is behind after a failover: no number returns."""
    task = bench.task()
    await bench.enqueue(task)
    (before,) = (await bench.claim(owner="pod-1")).claims
    await bench.client.flushall()
    await bench.enqueue(task)
    (after,) = (await bench.claim(owner="pod-1")).claims
    assert after.lease.fence > before.lease.fence
    assert await bench.finish(before.lease, result={"old": True}) is False
    assert await bench.finish(after.lease)


async def admit(client: Redis, *rules: str) -> None:
    await client.execute_command("ACL", "SETUSER", "ops", "reset", *rules)  # type: ignore[no-untyped-call] # redis-py leaves it untyped


@pytest.mark.parametrize(
    "closed",
    [
        ("on", ">another-word", "~*", "&*", "+@all"),
        ("off", ">right-word", "~*", "&*", "+@all"),
        ("on", ">right-word", "~*", "&*", "+@all", "-evalsha"),
        ("on", ">right-word", "~other:*", "&*", "+@all"),
    ],
    ids=["password changed", "user switched off", "command withdrawn", "keys withdrawn"],
)
async def test_access_that_is_withdrawn_and_given_back_needs_no_new_client(
    bench: Bench, redis_url: str, closed: tuple[str, ...]
) -> None:
    await admit(bench.client, "on", ">right-word", "~*", "&*", "+@all")
    url = redis_url.replace("redis://", "redis://ops:right-word@")
    async with connect(url) as client:
        queue = TaskQueue(client, worker=WORKER)
        await bench.enqueue(bench.task())
        await admit(bench.client, *closed)
        with pytest.raises(QueueRefusedError, match=r"credentials|granted"):
            await queue.snapshot()
        await admit(bench.client, "on", ">right-word", "~*", "&*", "+@all")
        assert (await queue.snapshot()).pending == 1


async def test_a_redis_that_wants_a_password_says_so(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "right-word")
    server.start()
    try:
        async with connect(server.url) as client:
            with pytest.raises(QueueRefusedError, match="credentials"):
                await TaskQueue(client, worker=WORKER).snapshot()
    finally:
        server.stop()


async def test_a_redis_that_cannot_save_takes_no_writes_and_says_why(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--save", "3600", "1")
    server.start()

    async def saved(status: str) -> None:
        await client.bgsave(schedule=False)
        async with asyncio.timeout(10):
            while (await client.info("persistence"))["rdb_bgsave_in_progress"]:
                pass
        assert (await client.info("persistence"))["rdb_last_bgsave_status"] == status

    try:
        async with connect(server.url) as client:
            bench = Bench(TaskQueue(client, worker=WORKER), client)
            claim = await bench.claim_one()
            (tmp_path / "dump.rdb").mkdir()  # in the way of the file
            await saved("err")
            for operation in (bench.finish(claim.lease), bench.claim(), bench.renew(claim.lease)):
                with pytest.raises(QueueRefusedError, match="cannot save to its disk"):
                    await operation
            assert (await bench.queue.snapshot()).in_flight == 1

            (tmp_path / "dump.rdb").rmdir()
            await saved("ok")
            assert await bench.finish(claim.lease)
    finally:
        server.kill()


async def test_too_few_replicas_are_waited_for(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    await bench.client.config_set("min-replicas-to-write", "1")
    try:
        with pytest.raises(QueueUnavailableError, match="Not enough good replicas"):
            await bench.claim()
        assert (await bench.queue.snapshot()).pending == 1
    finally:
        await bench.client.config_set("min-replicas-to-write", "0")
    assert len((await bench.claim()).claims) == 1
