"""Leases: renewal, retry, release, and what happens to tasks whose worker went away."""

import json

import pytest

from fixtures.queue_bench import LONG_MS, Bench

pytestmark = pytest.mark.integration


async def test_a_renewed_lease_outlives_its_first_deadline(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    assert await bench.renew(claim.lease) == frozenset()
    assert (await bench.queue.reap()).requeued == 0


async def test_renewing_tells_exactly_which_leases_are_lost(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(3)))
    leases = [claim.lease for claim in (await bench.claim(3)).claims]
    await bench.expire(leases[1])
    await bench.queue.reap()
    assert await bench.renew(*leases) == {leases[1].task_id}
    assert await bench.renew() == frozenset()


async def test_only_named_leases_are_renewed(bench: Bench) -> None:
    await bench.enqueue(bench.task(), bench.task())
    named, unknown = [claim.lease for claim in (await bench.claim(2)).claims]
    await bench.expire(named, unknown)
    await bench.renew(named)
    assert (await bench.queue.reap()).requeued == 1
    assert await bench.waiting() == [unknown.task_id]


async def test_an_expired_lease_brings_the_task_back_with_its_original_score(
    bench: Bench,
) -> None:
    claim = await bench.claim_one(priority="P1")
    id_ = claim.task.task_id
    await bench.expire(claim.lease)
    reaped = await bench.queue.reap()
    assert (reaped.requeued, reaped.dead, reaped.promoted) == (1, 0, 0)
    assert await bench.client.zscore(bench.queue.keys.tasks, id_) == 2.0
    task = await bench.data(id_)
    assert (task.status, task.started_at, task.retry_count) == ("pending", None, 0)
    assert await bench.field(id_, "status") == "pending"
    assert await bench.processing() == set()
    assert (await bench.queue.counters())["rescued"] == 1


async def test_a_score_the_producer_chose_itself_is_restored_exactly(bench: Bench) -> None:
    task = bench.task()
    await bench.enqueue(task)
    await bench.client.zadd(bench.queue.keys.tasks, {task.task_id: 2.0000000000000004})
    (claim,) = (await bench.claim()).claims
    await bench.queue.release([claim.lease])
    assert await bench.client.zscore(bench.queue.keys.tasks, task.task_id) == 2.0000000000000004


async def test_a_crash_counts_apart_from_attempts(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    await bench.queue.reap()
    (again,) = (await bench.claim()).claims
    assert (again.lease.attempt, again.lease.crashes) == (1, 1)


async def test_a_live_lease_is_not_reaped(bench: Bench) -> None:
    await bench.claim_one()
    reaped = await bench.queue.reap()
    assert (reaped.requeued, reaped.dead, reaped.promoted) == (0, 0, 0)
    assert (await bench.queue.snapshot()).in_flight == 1


async def test_reaping_tells_when_the_next_lease_expires(bench: Bench) -> None:
    assert (await bench.queue.reap()).next_expiry_ms is None
    await bench.claim_one()
    await bench.enqueue(bench.task())
    await bench.claim(lease_ms=5000)

    next_ms = (await bench.queue.reap()).next_expiry_ms

    assert next_ms is not None
    assert 0 < next_ms <= 5000


async def test_reaping_stops_at_its_limit_and_goes_on_next_time(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(5)))
    await bench.expire(*(claim.lease for claim in (await bench.claim(5)).claims))
    assert [(await bench.queue.reap(limit=2)).requeued for _ in range(4)] == [2, 2, 1, 0]


async def test_the_third_crash_is_the_last(bench: Bench) -> None:
    task = bench.task()
    await bench.enqueue(task)
    dead = 0
    for _ in range(3):
        (claim,) = (await bench.claim()).claims
        await bench.expire(claim.lease)
        dead += (await bench.queue.reap(result_ttl_ms=LONG_MS)).dead
    assert dead == 1
    assert (await bench.claim()).claims == ()
    after = await bench.data(task.task_id)
    assert after.status == "failed"
    assert after.error is not None
    assert after.error.startswith("gave up after 3 crashes")
    assert after.completed_at is not None
    assert 0 < await bench.client.pttl(bench.queue.keys.record(task.task_id)) <= LONG_MS
    letter = json.loads(
        str(await bench.client.hget(bench.queue.keys.own("dead:records"), task.task_id))
    )
    assert (letter["reason"], letter["crashes"], letter["attempts"]) == ("poisoned", 3, 1)
    assert await bench.queue.counters() == {"rescued": 2, "poisoned": 1}
    assert await bench.finish(claim.lease) is False


async def test_a_cancelled_task_is_not_poisoned_by_its_last_crash(bench: Bench) -> None:
    claim = await bench.claim_one()
    id_ = claim.task.task_id
    await bench.client.hset(bench.queue.keys.history(id_), "crashes", "2")
    await bench.client.hset(bench.queue.keys.record(id_), "status", "cancelled")
    await bench.expire(claim.lease)
    assert (await bench.queue.reap()).dead == 0
    assert (await bench.queue.snapshot()).dead == 0
    assert await bench.field(id_, "status") == "cancelled"


async def test_a_poisoned_task_is_published_as_failed(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.client.hset(bench.queue.keys.history(claim.task.task_id), "crashes", "2")
    await bench.expire(claim.lease)
    pubsub = bench.client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("orchestrator:events:task.failed")
    await pubsub.get_message(timeout=5)
    await bench.queue.reap()
    message = await pubsub.get_message(timeout=5)
    await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    assert message is not None
    event = json.loads(message["data"])
    assert (event["task_id"], event["trace_id"]) == (claim.task.task_id, claim.task.trace_id)
    assert event["payload"]["error_class"] == "WorkerCrash"
    assert len(event["event_id"]) == 36


async def test_a_retried_task_waits_for_its_delay(bench: Bench) -> None:
    claim = await bench.claim_one(priority="P0")
    id_ = claim.task.task_id
    assert await bench.retry(claim.lease, delay_ms=LONG_MS, error="try later")
    waiting = await bench.claim()
    assert waiting.claims == ()
    assert waiting.next_due_ms is not None
    assert 0 < waiting.next_due_ms <= LONG_MS
    task = await bench.data(id_)
    assert (task.status, task.error, task.retry_count) == ("pending", "try later", 1)
    assert task.started_at is None
    assert await bench.processing() == set()
    assert (await bench.queue.snapshot()).delayed == 1


async def test_a_due_task_is_promoted_with_its_original_score(bench: Bench) -> None:
    claim = await bench.claim_one(priority="P0")
    await bench.retry(claim.lease, delay_ms=0, error="x")
    assert (await bench.queue.reap()).promoted == 1
    assert await bench.client.zscore(bench.queue.keys.tasks, claim.task.task_id) == 1.0
    (again,) = (await bench.claim()).claims
    assert (again.lease.attempt, again.lease.crashes) == (2, 0)


async def test_a_claim_promotes_what_is_due_by_itself(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0, error="x")
    (again,) = (await bench.claim()).claims
    assert again.lease.attempt == 2


async def test_a_delayed_task_whose_history_is_gone_takes_its_priority_as_score(
    bench: Bench,
) -> None:
    claim = await bench.claim_one(priority="P3")
    await bench.retry(claim.lease, delay_ms=0, error="x")
    await bench.client.delete(bench.queue.keys.history(claim.task.task_id))
    await bench.queue.reap()
    assert await bench.client.zscore(bench.queue.keys.tasks, claim.task.task_id) == 4.0


async def test_what_is_known_of_a_task_outlives_its_delay(bench: Bench) -> None:
    claim = await bench.claim_one()
    days = 30 * 24 * 3600 * 1000
    await bench.retry(claim.lease, delay_ms=days, error="x")
    assert await bench.client.pttl(bench.queue.keys.history(claim.task.task_id)) > days


async def test_a_retry_sent_twice_counts_one_attempt(bench: Bench) -> None:
    claim = await bench.claim_one()
    for _ in range(2):
        assert await bench.retry(claim.lease, delay_ms=0, error="x")
    (again,) = (await bench.claim()).claims
    assert again.lease.attempt == 2


async def test_a_move_sent_twice_is_known_although_the_task_was_cancelled_and_skipped_meanwhile(
    bench: Bench,
) -> None:
    claim = await bench.claim_one()
    record = bench.queue.keys.record(claim.task.task_id)
    assert await bench.retry(claim.lease, delay_ms=0, error="x")
    await bench.client.hset(record, mapping={"status": "cancelled"})
    assert (await bench.claim()).claims == ()

    assert await bench.retry(claim.lease, delay_ms=0, error="x")
    assert await bench.queue.counters() == {"skipped": 1}

    assert not await bench.client.exists(bench.queue.keys.history(claim.task.task_id))
    settled = await bench.client.keys(bench.queue.keys.own("settled:*"))
    assert settled
    for key in settled:
        assert 5 * 60 * 1000 <= await bench.client.pttl(key) <= 6 * 60 * 1000


async def test_a_late_retry_is_counted(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    await bench.queue.reap()
    assert await bench.retry(claim.lease, delay_ms=0, error="x") is False
    assert (await bench.queue.counters())["late_retries"] == 1
    assert len(await bench.waiting()) == 1


async def test_crashes_survive_a_retry(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    await bench.queue.reap()
    (second,) = (await bench.claim()).claims
    await bench.retry(second.lease, delay_ms=0, error="x")
    (third,) = (await bench.claim()).claims
    assert (third.lease.attempt, third.lease.crashes) == (2, 1)


async def test_a_released_task_is_as_if_never_claimed(bench: Bench) -> None:
    claim = await bench.claim_one(priority="P1")
    before = claim.task
    assert await bench.queue.release([claim.lease]) == 1
    assert await bench.queue.release([claim.lease]) == 1
    assert await bench.client.zscore(bench.queue.keys.tasks, before.task_id) == 2.0
    assert (await bench.data(before.task_id)).status == "pending"
    (again,) = (await bench.claim(owner="pod-2")).claims
    assert (again.lease.attempt, again.lease.crashes) == (1, 0)
    assert await bench.queue.release([]) == 0


@pytest.mark.parametrize("how", ["retry", "release", "reap"])
async def test_a_task_whose_record_vanished_is_parked_not_lost(bench: Bench, how: str) -> None:
    claim = await bench.claim_one()
    await bench.client.delete(bench.queue.keys.record(claim.task.task_id))
    match how:
        case "retry":
            await bench.retry(claim.lease, delay_ms=0, error="x")
        case "release":
            await bench.queue.release([claim.lease])
        case _:
            await bench.expire(claim.lease)
            await bench.queue.reap()
    snapshot = await bench.queue.snapshot()
    assert (snapshot.orphaned, snapshot.in_flight, snapshot.pending) == (1, 0, 0)


async def test_a_lease_whose_claim_was_deleted_by_hand_still_comes_back(bench: Bench) -> None:
    claim = await bench.claim_one(priority="P0")
    await bench.client.delete(bench.queue.keys.own("claims"))
    await bench.expire(claim.lease)
    assert (await bench.queue.reap()).requeued == 1
    assert await bench.client.zscore(bench.queue.keys.tasks, claim.task.task_id) == 1.0


async def test_a_score_changed_by_the_producer_meanwhile_stands(bench: Bench) -> None:
    claim = await bench.claim_one(priority="P3")
    await bench.client.zadd(bench.queue.keys.tasks, {claim.task.task_id: 1})
    await bench.queue.release([claim.lease])
    assert await bench.client.zscore(bench.queue.keys.tasks, claim.task.task_id) == 1.0


async def test_versions_that_tried_are_remembered(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    for version in ("v1", "v2", "v1"):
        (claim,) = (await bench.claim(version=version)).claims
        await bench.retry(claim.lease, delay_ms=0, error="x")
    (last,) = (await bench.claim()).claims
    await bench.finish(last.lease, status="failed", error="x")
    letter = json.loads(
        str(await bench.client.hget(bench.queue.keys.own("dead:records"), last.task.task_id))
    )
    assert (letter["versions"], letter["attempts"]) == (["v1", "v2"], 4)
