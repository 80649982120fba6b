"""Adding tasks and cancelling them: once, whoever calls how often, and each end is told once."""

import msgspec
import pytest

from fixtures.event_listener import Listener
from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import parse_time

pytestmark = pytest.mark.integration


async def told(listener: Listener) -> list[str]:
    """Event types published until now, on one of the two channels."""
    return [event.event_type for channel, event in await listener.events() if channel.endswith("*")]


async def test_a_task_added_twice_is_there_once_and_announced_once(
    bench: Bench, listener: Listener
) -> None:
    task = bench.task(priority="P1")
    assert await bench.queue.enqueue(task) is True
    assert await bench.queue.enqueue(task) is False
    assert await bench.waiting() == [task.task_id]
    assert await bench.client.zscore(bench.queue.keys.tasks, task.task_id) == 2.0
    assert await told(listener) == ["task.created"]


async def test_a_task_that_is_there_already_is_left_as_it_is(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.finish(claim.lease)
    before = await bench.text(claim.task.task_id)
    assert await bench.queue.enqueue(msgspec.structs.replace(claim.task, status="pending")) is False
    assert await bench.waiting() == []
    assert await bench.text(claim.task.task_id) == before


async def test_a_waiting_task_that_is_cancelled_ends_at_once(
    bench: Bench, listener: Listener
) -> None:
    task = bench.task()
    await bench.enqueue(task)
    assert await bench.queue.cancel(task.task_id, result_ttl_ms=LONG_MS) == "cancelled"
    assert await bench.waiting() == []
    after = await bench.data(task.task_id)
    assert (after.status, await bench.field(task.task_id, "status")) == ("cancelled", "cancelled")
    assert parse_time(after.completed_at) is not None
    assert 0 < await bench.client.pttl(bench.queue.keys.record(task.task_id)) <= LONG_MS
    assert (await bench.claim(5)).claims == ()
    assert await bench.queue.cancel(task.task_id) == "ended"
    assert await told(listener) == ["task.created", "task.cancelled"]


async def test_a_delayed_task_that_is_cancelled_does_not_come_back(
    bench: Bench, listener: Listener
) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0)
    assert await bench.queue.cancel(claim.task.task_id) == "cancelled"
    snapshot = await bench.queue.snapshot()
    assert (snapshot.delayed, snapshot.pending) == (0, 0)
    assert (await bench.queue.reap()).promoted == 0
    assert await told(listener) == ["task.created", "task.cancelled"]


@pytest.mark.parametrize("status", ["cancelled", "completed", "failed"])
async def test_a_running_task_that_is_cancelled_is_ended_by_its_worker(
    bench: Bench, listener: Listener, status: str
) -> None:
    claim = await bench.claim_one()
    for _ in range(2):
        assert await bench.queue.cancel(claim.task.task_id) == "cancelling"
    assert await told(listener) == ["task.created"]
    renewed = await bench.queue.renew([claim.lease], lease_ms=LONG_MS)
    assert not renewed.lost
    assert renewed.cancelled == {claim.task.task_id}
    assert await bench.finish(claim.lease, status=status)
    assert await bench.finish(claim.lease, status=status)
    assert (await bench.data(claim.task.task_id)).status == "cancelled"
    assert await told(listener) == ["task.cancelled"]
    assert await bench.queue.cancel(claim.task.task_id) == "ended"
    assert (await bench.queue.snapshot()).dead == 0


async def test_a_running_task_that_nobody_cancelled_is_renewed_without_a_word(bench: Bench) -> None:
    task = bench.task(payload={"status": "cancelled", "note": '"status": "cancelled"'})
    await bench.enqueue(task)
    (claim,) = (await bench.claim()).claims
    renewed = await bench.queue.renew([claim.lease], lease_ms=LONG_MS)
    assert (renewed.lost, renewed.cancelled) == (frozenset(), frozenset())


@pytest.mark.parametrize("where", ["hash", "data"])
async def test_a_task_the_orchestrator_cancels_while_it_runs_is_noticed_at_the_renewal(
    bench: Bench, where: str
) -> None:
    claim = await bench.claim_one()
    cancelled = msgspec.structs.replace(claim.task, status="cancelled").encode()
    name, value = ("status", "cancelled") if where == "hash" else ("data", cancelled)
    await bench.client.hset(bench.queue.keys.record(claim.task.task_id), name, value)
    renewed = await bench.queue.renew([claim.lease], lease_ms=LONG_MS)
    assert renewed.cancelled == {claim.task.task_id}


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_task_that_ended_cannot_be_cancelled(bench: Bench, status: str) -> None:
    claim = await bench.claim_one()
    await bench.finish(claim.lease, status=status)
    assert await bench.queue.cancel(claim.task.task_id) == "ended"
    assert (await bench.data(claim.task.task_id)).status == status


async def test_what_is_not_ours_is_not_cancelled(bench: Bench) -> None:
    foreign = bench.task(assigned_to="dev")
    await bench.enqueue(foreign)
    assert await bench.queue.cancel(foreign.task_id) == "unknown"
    assert await bench.queue.cancel("never heard of") == "unknown"
    assert (await bench.data(foreign.task_id)).status == "pending"
    assert await bench.waiting() == [foreign.task_id]


async def test_a_release_that_comes_too_late_is_counted(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    await bench.queue.reap()
    assert await bench.queue.release([claim.lease]) == 0
    assert await bench.queue.counters() == {"rescued": 1, "late_releases": 1}


async def test_a_parked_task_whose_record_is_back_can_be_cancelled(bench: Bench) -> None:
    task = bench.task()
    await bench.client.zadd(bench.queue.keys.tasks, {task.task_id: 3})
    await bench.claim()
    await bench.client.hset(bench.queue.keys.record(task.task_id), "data", task.encode())
    assert await bench.queue.cancel(task.task_id) == "cancelled"
    await bench.queue.reap()
    assert (await bench.waiting(), (await bench.queue.snapshot()).orphaned) == ([], 0)
    assert await bench.queue.counters() == {"orphaned": 1}


@pytest.mark.parametrize("how", ["release", "retry", "reap"])
async def test_a_task_cancelled_while_it_runs_expires_however_it_is_given_back(
    bench: Bench, how: str
) -> None:
    claim = await bench.claim_one()
    assert await bench.queue.cancel(claim.task.task_id) == "cancelling"
    match how:
        case "release":
            await bench.queue.release([claim.lease])
        case "retry":
            await bench.retry(claim.lease)
        case _:
            await bench.expire(claim.lease)
            await bench.queue.reap()
    assert await bench.client.pttl(bench.queue.keys.record(claim.task.task_id)) > LONG_MS


async def test_a_waiting_task_somebody_left_among_the_handed_out_ones_is_cancelled_at_once(
    bench: Bench,
) -> None:
    task = bench.task()
    await bench.enqueue(task)
    await bench.client.sadd(bench.queue.keys.processing, task.task_id)
    assert await bench.queue.cancel(task.task_id) == "cancelled"
    assert await bench.waiting() == []
