"""The snapshot: everything the operator decides on, read without changing anything."""

import msgspec
import pytest
from redis.asyncio import Redis

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Finished, Heartbeat, TaskQueue
from opsagent_queue.scripts import load

pytestmark = pytest.mark.integration


async def test_an_empty_queue_is_all_zero_and_none(bench: Bench) -> None:
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.delayed, snapshot.in_flight) == (0, 0, 0)
    assert (snapshot.dead, snapshot.foreign, snapshot.orphaned) == (0, 0, 0)
    assert (snapshot.next_due_ms, snapshot.oldest_ms, snapshot.paused) == (None, None, False)
    assert (snapshot.busy, snapshot.workers) == ({}, {})
    assert snapshot.run_id
    assert snapshot.fence == 0
    seconds, _ = await bench.client.time()
    assert abs(snapshot.time_ms / 1000 - seconds) < 60


async def test_every_task_is_counted_once_in_the_place_where_it_is(bench: Bench) -> None:
    done, failed, delayed, _, latest = [
        await bench.claim_one(owner=f"pod-{number % 2}") for number in range(5)
    ]
    await bench.finish(done.lease)
    await bench.finish(failed.lease, status="failed", error="x")
    await bench.retry(delayed.lease, delay_ms=LONG_MS, error="x")
    await bench.enqueue(bench.task(), bench.task(), bench.task(assigned_to="dev"))
    await bench.client.zadd(bench.queue.keys.tasks, {"ghost": 1})
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.delayed, snapshot.in_flight) == (2, 1, 2)
    assert (snapshot.dead, snapshot.foreign, snapshot.orphaned) == (1, 1, 1)
    assert snapshot.busy == {"pod-0": 1, "pod-1": 1}
    assert snapshot.next_due_ms is not None
    assert 0 < snapshot.next_due_ms <= LONG_MS
    assert snapshot.fence == latest.lease.fence


async def test_an_overdue_task_is_due_in_zero_ms(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0, error="x")
    assert (await bench.queue.snapshot()).next_due_ms == 0


async def test_foreign_depth_is_exact_behind_and_before_ours(bench: Bench) -> None:
    async with bench.client.pipeline() as pipe:
        for number in range(2500):
            agent = "ops" if number % 100 == 0 else "dev"
            task = bench.task(assigned_to=agent)
            await pipe.hset(bench.queue.keys.record(task.task_id), "data", task.encode())
            await pipe.zadd(bench.queue.keys.tasks, {task.task_id: 3})
        await pipe.execute()
    while await bench.queue.index():
        pass
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign) == (25, 2475)


async def test_without_agents_nothing_is_foreign(client: Redis) -> None:
    bench = Bench(TaskQueue(client, worker="a/b", agents=()), client)
    await bench.enqueue(bench.task(assigned_to="dev"), bench.task(assigned_to=None))
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign) == (2, 0)


async def test_a_cancelled_task_that_still_waits_is_not_pending(bench: Bench) -> None:
    task = bench.task()
    await bench.enqueue(task)
    await bench.client.hset(bench.queue.keys.record(task.task_id), "status", "cancelled")
    assert (await bench.queue.snapshot()).pending == 0


async def test_the_age_is_that_of_the_oldest_pending_task_of_ours(bench: Bench) -> None:
    snapshot = await bench.queue.snapshot()
    seconds = snapshot.time_ms // 1000
    for age, agent in [(30, "ops"), (90, "ops"), (300, "dev")]:
        stamp = bench.iso(seconds - age)
        await bench.enqueue(
            msgspec.structs.replace(bench.task(assigned_to=agent), created_at=stamp)
        )
    oldest = (await bench.queue.snapshot()).oldest_ms
    assert oldest is not None
    assert 90_000 - 1000 <= oldest < 300_000


async def test_a_time_nobody_can_read_is_no_age(bench: Bench) -> None:
    await bench.enqueue(msgspec.structs.replace(bench.task(), created_at="yesterday"))
    assert (await bench.queue.snapshot()).oldest_ms is None


async def test_the_gate_shows(bench: Bench) -> None:
    for paused in (True, True, False, False):
        await bench.queue.set_paused(paused)
        assert (await bench.queue.snapshot()).paused is paused


async def test_heartbeats_show_stamped_by_redis_clock(bench: Bench) -> None:
    beat = Heartbeat(
        version="v1.0.0-stable-20251022",
        revision="ops-agent-abc",
        slots=4,
        busy=1,
        draining=True,
        started="2025-10-22T12:00:00+00:00",
        cpu_percent=12.5,
        memory_bytes=80_000_000,
        seen_ms=1,
    )
    await bench.queue.heartbeat("pod-1", beat)
    snapshot = await bench.queue.snapshot()
    seen = snapshot.workers["pod-1"].seen_ms
    assert seen is not None
    assert 0 <= snapshot.time_ms - seen < 60_000
    assert snapshot.workers == {"pod-1": msgspec.structs.replace(beat, seen_ms=seen)}
    await bench.queue.forget_worker("pod-1")
    assert (await bench.queue.snapshot()).workers == {}


@pytest.mark.parametrize("text", ["", "ready", "[]", '{"slots": 4}', '{"version": 1, "slots": 4}'])
async def test_what_is_no_heartbeat_is_left_out(bench: Bench, text: str) -> None:
    await bench.client.hset(bench.queue.keys.own("workers"), "stranger", text)
    await bench.queue.heartbeat("pod-1", Heartbeat(version="v1", slots=4))
    assert set((await bench.queue.snapshot()).workers) == {"pod-1"}


@pytest.mark.redis7
async def test_the_snapshot_script_only_reads(bench: Bench) -> None:
    """EVAL_RO refuses any command that writes, whether or not it would change something."""
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0, error="x")
    await bench.enqueue(bench.task(), bench.task(assigned_to="dev"))
    vector = bench.queue.keys.vector
    reply = await bench.client.eval_ro(
        load("snapshot").text, len(vector), *vector, 0, 10, 1, "v1", "ops"
    )
    fields = dict(zip(reply[0][::2], reply[0][1::2], strict=True))
    assert (fields["pending"], fields["delayed"], fields["foreign"]) == (2, 0, 1)


async def test_soon_counts_the_delayed_tasks_that_become_due_in_time(bench: Bench) -> None:
    for delay_ms in (0, LONG_MS, LONG_MS, 3 * LONG_MS):
        await bench.retry((await bench.claim_one()).lease, delay_ms=delay_ms)
    snapshot = await bench.queue.snapshot(soon_ms=2 * LONG_MS)
    assert (snapshot.pending, snapshot.delayed, snapshot.soon) == (1, 3, 2)
    assert (await bench.queue.snapshot()).soon == 0


async def test_unknown_are_the_tasks_that_nobody_has_looked_at(bench: Bench) -> None:
    await bench.produce(bench.task())
    await bench.queue.index()
    await bench.produce(*(bench.task() for _ in range(300)))
    assert (await bench.queue.snapshot()).unknown == 300
    while await bench.queue.index():
        pass
    assert (await bench.queue.snapshot()).unknown == 0


async def test_a_lone_server_is_a_master(bench: Bench) -> None:
    assert (await bench.queue.snapshot()).role == "master"


async def test_the_mean_run_time_is_over_the_versions_asked_about(bench: Bench) -> None:
    for version, seconds in [("v1", 1.0), ("v2", 4.0), ("v3", 60.0)]:
        finished = Finished(
            lease=(await bench.claim_one()).lease,
            status="failed" if version == "v2" else "completed",
            seconds=seconds,
            error="x",
        )
        await bench.queue.finish([finished], version=version, result_ttl_ms=LONG_MS)
    assert (await bench.queue.snapshot(versions=["v1", "v2"])).mean_seconds == 2.5
    assert (await bench.queue.snapshot(versions=["v3"], minutes=120)).mean_seconds == 60.0


async def test_without_an_end_there_is_no_mean_run_time(bench: Bench) -> None:
    """Neither a retry nor a worker that died says how long a task takes."""
    await bench.retry((await bench.claim_one()).lease)
    crashed = await bench.claim_one()
    await bench.expire(crashed.lease)
    await bench.queue.reap()
    assert (await bench.queue.snapshot(versions=["v1"])).mean_seconds is None
    assert (await bench.queue.snapshot()).mean_seconds is None


@pytest.mark.parametrize("minutes", [0, 121])
async def test_the_mean_run_time_is_of_as_many_minutes_as_are_kept(
    bench: Bench, minutes: int
) -> None:
    with pytest.raises(ValueError, match="between 1 and 120"):
        await bench.queue.snapshot(minutes=minutes)
