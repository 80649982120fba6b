"""How tasks end: what is written, what is published, and what late or repeated calls do."""

import json

import msgspec
import pytest
from redis.asyncio import Redis

from fixtures.event_listener import Listener
from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Event, Finished, Retried, Task, parse_time

pytestmark = pytest.mark.integration


async def test_a_completed_task_has_its_result_times_and_an_expiry(bench: Bench) -> None:
    claim = await bench.claim_one(metadata={"note": "keep"})
    id_ = claim.task.task_id
    assert await bench.finish(claim.lease, result={"url": "https://x", "list": []})
    task = await bench.data(id_)
    assert (task.status, await bench.field(id_, "status")) == ("completed", "completed")
    assert task.metadata == {"note": "keep", "result": {"url": "https://x", "list": []}}
    started, completed = parse_time(task.started_at), parse_time(task.completed_at)
    assert started is not None
    assert completed is not None
    assert completed >= started
    assert (task.error, task.retry_count) == (None, 0)
    assert await bench.processing() == set()
    assert 0 < await bench.client.pttl(bench.queue.keys.record(id_)) <= LONG_MS
    assert (await bench.queue.snapshot()).in_flight == 0


async def test_a_failed_task_says_why_and_joins_the_dead(bench: Bench) -> None:
    claim = await bench.claim_one()
    id_ = claim.task.task_id
    assert await bench.finish(
        claim.lease, status="failed", error='bad "input"\n', error_class="ValueError"
    )
    task = await bench.data(id_)
    assert (task.status, task.error) == ("failed", 'bad "input"\n')
    assert (await bench.queue.snapshot()).dead == 1
    letter = json.loads(
        str(await bench.client.hget(bench.queue.keys.own("dead:records"), id_)) or "{}"
    )
    assert parse_time(letter.pop("at")) is not None
    assert letter == {
        "reason": "failed",
        "error": 'bad "input"\n',
        "error_class": "ValueError",
        "attempts": 1,
        "crashes": 0,
        "versions": ["v1"],
        "score": "3",
    }


async def test_dead_letters_leave_when_their_records_expire(bench: Bench) -> None:
    old = await bench.claim_one()
    await bench.finish(old.lease, status="failed", error="old")
    await bench.client.zadd(bench.queue.keys.own("dead"), {old.task.task_id: 1})
    new = await bench.claim_one()
    await bench.finish(new.lease, status="failed", error="new")
    letters = await bench.client.hkeys(bench.queue.keys.own("dead:records"))
    assert letters == [new.task.task_id]
    assert (await bench.queue.snapshot()).dead == 1


@pytest.mark.parametrize(
    ("status", "priority"), [("completed", "medium"), ("failed", "high"), ("cancelled", "medium")]
)
async def test_the_end_is_published_on_both_channels(
    bench: Bench, listener: Listener, status: str, priority: str
) -> None:
    claim = await bench.claim_one()
    await listener.events()
    await bench.finish(claim.lease, status=status, error="why", error_class="E", seconds=2.25)
    (one, event), (two, same) = await listener.events()
    assert {one, two} == {f"orchestrator:events:task.{status}", "orchestrator:events:*"}
    assert event == same
    assert (event.event_type, event.priority, event.source_agent) == (
        f"task.{status}",
        priority,
        "ops",
    )
    assert (event.task_id, event.trace_id) == (claim.task.task_id, claim.task.trace_id)
    assert parse_time(event.timestamp) is not None
    assert event.payload == {
        "status": status,
        "attempt": 1,
        "seconds": 2.25,
        "version": "v1",
        "error": "why",
        "error_class": "E",
        "task_type": "monitor",
    }


async def test_the_events_the_scripts_write_have_the_wire_formats_field_order(
    bench: Bench, client: Redis
) -> None:
    claim = await bench.claim_one()
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("orchestrator:events:*")
    await pubsub.get_message(timeout=5)
    await bench.finish(claim.lease)
    message = await pubsub.get_message(timeout=5)
    await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    assert message is not None
    assert Event.decode(message["data"]).encode() == message["data"]


async def test_a_new_task_is_announced_on_both_channels(bench: Bench, listener: Listener) -> None:
    task = bench.task(priority="P1")
    await bench.enqueue(task)
    events = await listener.events()
    assert [channel for channel, _ in events] == [
        "orchestrator:events:task.created",
        "orchestrator:events:*",
    ]
    assert events[0][1].payload == {
        "task_type": "monitor",
        "priority": "P1",
        "assigned_to": "ops",
    }


async def test_success_after_a_failed_attempt_clears_the_error(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0, error="first")
    (again,) = (await bench.claim()).claims
    assert again.task.error == "first"
    await bench.finish(again.lease)
    task = await bench.data(claim.task.task_id)
    assert (task.error, task.retry_count) == (None, 1)


async def test_a_finish_under_a_lost_lease_is_a_counted_no_op(
    bench: Bench, listener: Listener
) -> None:
    late = await bench.claim_one(owner="pod-1")
    await bench.expire(late.lease)
    await bench.queue.reap()
    (current,) = (await bench.claim(owner="pod-2")).claims
    before = await bench.text(late.task.task_id)
    await listener.events()
    assert await bench.finish(late.lease, result={"wrong": True}) is False
    assert await bench.text(late.task.task_id) == before
    assert await listener.events() == []
    assert (await bench.queue.counters())["late_finishes"] == 1
    assert await bench.finish(current.lease) is True


async def test_a_lease_of_the_same_pod_is_told_apart_by_its_fence(bench: Bench) -> None:
    first = await bench.claim_one(owner="pod-1")
    await bench.expire(first.lease)
    await bench.queue.reap()
    (second,) = (await bench.claim(owner="pod-1")).claims
    assert second.lease.fence > first.lease.fence
    assert await bench.finish(first.lease) is False
    assert await bench.renew(first.lease) == {first.task.task_id}
    assert await bench.queue.release([first.lease]) == 0
    assert await bench.retry(first.lease, delay_ms=0, error="x") is False
    assert await bench.finish(second.lease) is True


async def test_a_lease_belongs_to_its_owner(bench: Bench) -> None:
    """Fences start over when Redis loses its data: then the owner still tells leases apart."""
    claim = await bench.claim_one(owner="pod-1")
    stranger = msgspec.structs.replace(claim.lease, owner="pod-2")
    assert await bench.renew(stranger) == {claim.task.task_id}
    assert await bench.finish(stranger) is False
    assert await bench.finish(claim.lease) is True


async def test_a_task_that_ended_and_is_queued_anew_starts_counting_again(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    await bench.queue.reap()
    (second,) = (await bench.claim()).claims
    await bench.retry(second.lease, delay_ms=0, error="x")
    (third,) = (await bench.claim()).claims
    await bench.finish(third.lease, status="failed", error="x")
    await bench.produce(msgspec.structs.replace(claim.task, status="pending"))
    (again,) = (await bench.claim()).claims
    assert (again.lease.attempt, again.lease.crashes) == (1, 0)


async def test_a_finish_after_the_deadline_counts_while_nobody_reaped(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.expire(claim.lease)
    assert await bench.finish(claim.lease) is True
    assert (await bench.queue.reap()).requeued == 0


async def test_a_finish_sent_twice_is_done_once_and_succeeds_twice(
    bench: Bench, listener: Listener
) -> None:
    claim = await bench.claim_one()
    await listener.events()
    assert await bench.finish(claim.lease) is True
    assert await bench.finish(claim.lease) is True
    assert len(await listener.events()) == 2
    assert await bench.queue.counters() == {}


async def test_a_finish_after_a_release_of_the_same_lease_is_late(bench: Bench) -> None:
    claim = await bench.claim_one()
    assert await bench.queue.release([claim.lease]) == 1
    assert await bench.finish(claim.lease) is False
    assert (await bench.queue.counters())["late_finishes"] == 1


async def test_a_task_cancelled_while_it_ran_stays_cancelled(
    bench: Bench, listener: Listener
) -> None:
    claim = await bench.claim_one()
    id_ = claim.task.task_id
    cancelled = msgspec.structs.replace(claim.task, status="cancelled")
    await bench.client.hset(
        bench.queue.keys.record(id_), mapping={"data": cancelled.encode(), "status": "cancelled"}
    )
    await listener.events()
    assert await bench.finish(claim.lease, result={"x": 1}) is True
    assert await bench.data(id_) == cancelled
    events = await listener.events()
    assert [event.payload["status"] for _, event in events] == ["cancelled", "cancelled"]
    assert {event.event_type for _, event in events} == {"task.cancelled"}
    assert (await bench.queue.snapshot()).in_flight == 0
    assert await bench.client.pttl(bench.queue.keys.record(id_)) > 0
    assert await bench.queue.counters() == {"cancelled_while_running": 1}


@pytest.mark.parametrize("how", ["retry", "release", "reap"])
async def test_a_task_cancelled_while_it_ran_is_not_queued_again(
    bench: Bench, listener: Listener, how: str
) -> None:
    claim = await bench.claim_one()
    await listener.events()
    await bench.client.hset(
        bench.queue.keys.record(claim.task.task_id), mapping={"status": "cancelled"}
    )
    match how:
        case "retry":
            assert await bench.retry(claim.lease, delay_ms=0, error="x")
        case "release":
            assert await bench.queue.release([claim.lease]) == 1
        case _:
            await bench.expire(claim.lease)
            assert (await bench.queue.reap()).requeued == 0
    assert await bench.waiting() == []
    snapshot = await bench.queue.snapshot()
    assert (snapshot.in_flight, snapshot.delayed) == (0, 0)
    assert await bench.field(claim.task.task_id, "status") == "cancelled"
    assert [event.event_type for _, event in await listener.events()] == ["task.cancelled"] * 2


async def test_a_record_rewritten_while_it_ran_keeps_what_is_not_ours(bench: Bench) -> None:
    claim = await bench.claim_one()
    id_ = claim.task.task_id
    patched = msgspec.structs.replace(
        claim.task,
        status="blocked",
        priority="P0",
        metadata={"reviewed": True, "tags": []},
        child_task_ids=["c-1"],
    )
    await bench.client.hset(
        bench.queue.keys.record(id_), mapping={"data": patched.encode(), "status": "blocked"}
    )
    assert await bench.finish(claim.lease, result={"ok": 1})
    after = await bench.data(id_)
    assert after == msgspec.structs.replace(
        patched,
        status="completed",
        completed_at=after.completed_at,
        metadata={"reviewed": True, "tags": [], "result": {"ok": 1}},
    )


async def test_a_stale_rewrite_cannot_take_attempts_back(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0, error="x")
    await bench.client.hset(
        bench.queue.keys.record(claim.task.task_id), "data", claim.task.encode()
    )
    (again,) = (await bench.claim()).claims
    assert again.lease.attempt == 2
    await bench.client.hset(
        bench.queue.keys.record(claim.task.task_id), "data", claim.task.encode()
    )
    await bench.retry(again.lease, delay_ms=0, error="x")
    (third,) = (await bench.claim()).claims
    assert third.lease.attempt == 3
    await bench.client.hset(
        bench.queue.keys.record(claim.task.task_id), "data", claim.task.encode()
    )
    await bench.finish(third.lease)
    assert (await bench.data(claim.task.task_id)).retry_count == 2


async def test_a_record_that_vanished_is_not_half_recreated(
    bench: Bench, listener: Listener
) -> None:
    claim = await bench.claim_one()
    await bench.client.delete(bench.queue.keys.record(claim.task.task_id))
    await listener.events()
    assert await bench.finish(claim.lease) is True
    assert not await bench.client.exists(bench.queue.keys.record(claim.task.task_id))
    assert [event.task_id for _, event in await listener.events()] == [claim.task.task_id] * 2
    assert (await bench.queue.snapshot()).in_flight == 0


@pytest.mark.parametrize("result", [{"x": object()}, {"x": float("nan")}, {"x": {1, 2}}])
async def test_a_result_that_is_no_json_is_refused_and_the_lease_stays(
    bench: Bench, result: dict[str, object]
) -> None:
    claim = await bench.claim_one()
    with pytest.raises(ValueError, match="must be JSON"):
        await bench.finish(claim.lease, result=result)
    assert await bench.finish(claim.lease) is True


async def test_metadata_that_is_no_object_gives_way_to_the_result(bench: Bench) -> None:
    claim = await bench.claim_one()
    text = claim.task.encode().replace('"metadata": {}', '"metadata": null')
    await bench.client.hset(bench.queue.keys.record(claim.task.task_id), "data", text)
    await bench.finish(claim.lease, result={"ok": True})
    assert json.loads(await bench.text(claim.task.task_id))["metadata"] == {"result": {"ok": True}}


async def test_publishing_an_event_reaches_both_channels(bench: Bench, listener: Listener) -> None:
    task = Task.new(type="deploy", payload={})
    event = Event.new("deploy.started", task=task, payload={"target": "production"})
    await bench.queue.publish([event])
    assert await listener.events() == [
        ("orchestrator:events:deploy.started", event),
        ("orchestrator:events:*", event),
    ]


async def test_a_batch_of_ends_answers_for_each_in_order(bench: Bench, listener: Listener) -> None:
    await bench.enqueue(*(bench.task() for _ in range(4)))
    leases = [claim.lease for claim in (await bench.claim(4)).claims]
    await bench.expire(leases[1])
    await bench.queue.reap()
    await listener.events()
    batch = [
        Finished(lease=leases[0], status="completed", seconds=1),
        Finished(lease=leases[1], status="completed", seconds=1),
        Finished(lease=leases[2], status="failed", seconds=1, error="no"),
        Finished(lease=leases[3], status="cancelled", seconds=1),
    ]
    taken = await bench.queue.finish(batch, version="v1", result_ttl_ms=LONG_MS)
    assert taken == (True, False, True, True)
    events = [event for channel, event in await listener.events() if channel.endswith("*")]
    assert [event.event_type for event in events] == [
        "task.completed",
        "task.failed",
        "task.cancelled",
    ]
    assert len({event.event_id for event in events}) == 3
    assert await bench.queue.finish([], version="v1", result_ttl_ms=LONG_MS) == ()


async def test_a_batch_of_retries_answers_for_each_in_order(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(2)))
    leases = [claim.lease for claim in (await bench.claim(2)).claims]
    await bench.finish(leases[0])
    batch = [Retried(lease=lease, delay_ms=0, error="x") for lease in leases]
    assert await bench.queue.retry(batch, version="v1") == (False, True)
    assert await bench.queue.retry([], version="v1") == ()


async def test_a_task_that_harms_its_worker_is_buried_as_poison(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.finish(claim.lease, status="failed", error="eats memory", poison=True)
    letter = json.loads(
        str(await bench.client.hget(bench.queue.keys.own("dead:records"), claim.task.task_id))
    )
    assert (letter["reason"], letter["error"]) == ("poisoned", "eats memory")


async def test_the_same_lease_twice_in_a_batch_ends_once(bench: Bench, listener: Listener) -> None:
    await bench.enqueue(*(bench.task() for _ in range(3)))
    ended, again, back = [claim.lease for claim in (await bench.claim(3)).claims]
    await listener.events()
    finished = Finished(lease=ended, status="failed", seconds=1, error="x")
    taken = await bench.queue.finish([finished] * 2, version="v1", result_ttl_ms=LONG_MS)
    assert taken == (True, True)
    assert len(await listener.events()) == 2
    retried = Retried(lease=again, delay_ms=0, error="x")
    assert await bench.queue.retry([retried] * 2, version="v1") == (True, True)
    assert (await bench.data(again.task_id)).retry_count == 1
    assert await bench.queue.release([back] * 2) == 2
    assert await bench.queue.counters() == {}


async def test_reports_too_old_to_be_asked_for_are_freed_before_they_expire(bench: Bench) -> None:
    """Redis frees what expires at once, and everybody waits; what is unlinked it frees aside."""
    claim = await bench.claim_one()
    minute = (await bench.client.time())[0] // 60
    keys = [bench.queue.keys.own(f"settled:{minute - age}") for age in (6, 5)]
    for key in keys:
        await bench.client.hset(key, "1 x", "finish")
    await bench.client.config_resetstat()
    assert await bench.finish(claim.lease)
    assert "cmdstat_unlink" in await bench.client.info("commandstats")
    if (await bench.client.time())[0] // 60 == minute:
        assert [await bench.client.exists(key) for key in keys] == [0, 1]


@pytest.mark.parametrize(("minutes", "known"), [(1, True), (5, True), (6, False)])
async def test_a_repeated_report_is_known_for_five_minutes(
    bench: Bench, minutes: int, known: bool
) -> None:
    claim = await bench.claim_one()
    assert await bench.finish(claim.lease)
    (key,) = await bench.client.keys(bench.queue.keys.own("settled:*"))
    beginning, _, minute = str(key).rpartition(":")
    await bench.client.rename(key, f"{beginning}:{int(minute) - minutes}")
    # The minute may turn between both reports: then the older one is a minute older still.
    seconds, _ = await bench.client.time()
    if seconds // 60 == int(minute):
        assert await bench.finish(claim.lease) is known
