"""Claiming: what is handed out, in which order, and what is stepped over or set aside."""

import msgspec
import pytest
from redis.asyncio import Redis

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Claim, Finished, Lease, Retried, TaskQueue, parse_time

pytestmark = pytest.mark.integration


async def test_a_claimed_task_is_in_progress_everywhere_the_orchestrator_looks(
    bench: Bench,
) -> None:
    claim = await bench.claim_one()
    id_ = claim.task.task_id
    written = await bench.data(id_)
    assert await bench.waiting() == []
    assert await bench.processing() == {id_}
    assert (written.status, await bench.field(id_, "status")) == ("in_progress", "in_progress")
    started = parse_time(written.started_at)
    assert started is not None
    updated = await bench.field(id_, "updated_at")
    assert updated == written.started_at
    now = (await bench.queue.snapshot()).time_ms / 1000
    assert abs(now - started.timestamp()) < 60
    assert claim.task == written
    fence = claim.lease.fence
    assert claim.lease == Lease(task_id=id_, owner="pod-1", fence=fence, attempt=1, crashes=0)


async def test_a_claim_takes_no_more_than_it_asked_for(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(5)))
    assert len((await bench.claim(3)).claims) == 3
    assert len((await bench.claim(3)).claims) == 2
    assert (await bench.claim(3)).claims == ()


async def test_more_than_one_call_should_move_is_moved_by_several(bench: Bench) -> None:
    await bench.produce(*(bench.task() for _ in range(600)))
    claims: list[Claim] = []
    while (result := await bench.claim(600 - len(claims))).more:
        assert len(result.claims) <= 256
        claims += result.claims
    claims += result.claims
    assert len(claims) == 600
    leases = [claim.lease for claim in claims]
    assert await bench.renew(*leases) == frozenset()
    assert await bench.queue.release(leases[:300]) == 300
    retried = [Retried(lease=lease, delay_ms=LONG_MS, error="x") for lease in leases[300:]]
    assert await bench.queue.retry(retried, version="v1") == (True,) * 300
    claims = list((await bench.claim(256)).claims) + list((await bench.claim(256)).claims)
    finished = [
        Finished(lease=claim.lease, status="completed", seconds=1, data=claim.data if odd else None)
        for odd, claim in zip([True, False] * 150, claims, strict=True)
    ]
    taken = await bench.queue.finish(finished, version="v1", result_ttl_ms=LONG_MS)
    assert taken == (True,) * 300
    assert (await bench.queue.results("v1", minutes=2)).ok == 300


async def test_two_workers_never_hold_the_same_task(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(6)))
    one = await bench.claim(3, owner="pod-1")
    two = await bench.claim(6, owner="pod-2")
    ids = [claim.task.task_id for claim in one.claims + two.claims]
    assert len(ids) == len(set(ids)) == 6
    assert len({claim.lease.fence for claim in one.claims + two.claims}) == 6


async def test_priority_goes_before_age_and_age_before_id(bench: Bench) -> None:
    tasks = [
        msgspec.structs.replace(
            bench.task(priority=priority), created_at=f"2025-10-22T12:00:{second:02d}+00:00"
        )
        for second, priority in enumerate(["P3", "P2", "P1", "P2", "P0", "P2", "P9"])
    ]
    await bench.enqueue(*reversed(tasks))
    order = [claim.task.priority for claim in (await bench.claim(2)).claims]
    rest = [claim.task for claim in (await bench.claim(9)).claims]
    assert order == ["P0", "P1"]
    assert rest == sorted(rest, key=lambda task: (task.priority == "P3", task.created_at))


async def test_within_a_priority_the_oldest_is_first_although_ids_are_random(
    bench: Bench,
) -> None:
    tasks = [
        msgspec.structs.replace(
            bench.task(), created_at=f"2025-10-22T12:{minute:02d}:00.000001+00:00"
        )
        for minute in range(60)
    ]
    await bench.produce(*tasks)
    claimed = [(await bench.claim()).claims[0].task.task_id for _ in range(60)]
    assert claimed == [task.task_id for task in tasks]


async def test_a_fraction_of_a_second_counts_for_age(bench: Bench) -> None:
    times = ["2025-10-22T12:00:00+00:00", "2025-10-22T12:00:00.5+00:00"]
    tasks = [msgspec.structs.replace(bench.task(), created_at=time) for time in times]
    await bench.enqueue(*reversed(tasks))
    assert [claim.task.created_at for claim in (await bench.claim(2)).claims] == times


async def test_both_names_of_our_agent_are_served(bench: Bench) -> None:
    await bench.enqueue(bench.task(assigned_to="ops"), bench.task(assigned_to="ops_agent"))
    assert len((await bench.claim(5)).claims) == 2


@pytest.mark.parametrize("agent", ["dev", "faq_agent", "OPS", "", None])
async def test_a_foreign_or_unassigned_task_is_neither_taken_nor_moved(
    bench: Bench, agent: str | None
) -> None:
    task = bench.task(assigned_to=agent)
    await bench.enqueue(task)
    before = await bench.client.hgetall(bench.queue.keys.record(task.task_id))
    assert (await bench.claim(5)).claims == ()
    assert await bench.waiting() == [task.task_id]
    assert await bench.client.hgetall(bench.queue.keys.record(task.task_id)) == before


async def test_without_agents_every_task_is_ours(client: Redis) -> None:
    bench = Bench(TaskQueue(client, worker="a/b", agents=[]), client)
    await bench.enqueue(bench.task(assigned_to="dev"), bench.task(assigned_to=None))
    assert len((await bench.claim(5)).claims) == 2


async def test_a_claim_sent_again_returns_the_batch_already_taken(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(4)))
    first = await bench.claim(2, token="again")
    second = await bench.claim(2, token="again")
    assert second.claims == first.claims
    assert len(await bench.waiting()) == 2


async def test_a_claim_sent_again_leaves_out_what_is_no_longer_held(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(2)))
    first, second = (await bench.claim(2, token="again")).claims
    await bench.finish(first.lease)
    assert (await bench.claim(2, token="again")).claims == (second,)


async def test_a_claim_sent_again_leaves_out_what_another_claim_took_since(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    (first,) = (await bench.claim(token="again")).claims
    await bench.expire(first.lease)
    await bench.queue.reap()
    assert len((await bench.claim(owner="pod-2", token="other")).claims) == 1
    assert (await bench.claim(token="again")).claims == ()


async def test_a_closed_gate_hands_out_nothing_and_says_so(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    await bench.queue.set_paused(True)
    closed = await bench.claim(5)
    assert (closed.claims, closed.paused) == ((), True)
    assert len(await bench.waiting()) == 1
    await bench.queue.set_paused(False)
    assert len((await bench.claim(5)).claims) == 1


async def test_an_id_without_a_record_is_parked_and_counted_not_dropped(bench: Bench) -> None:
    await bench.client.zadd(bench.queue.keys.tasks, {"ghost": 2})
    await bench.enqueue(bench.task())
    assert len((await bench.claim(5)).claims) == 1
    assert await bench.waiting() == []
    assert (await bench.queue.snapshot()).orphaned == 1
    assert (await bench.claim(5)).claims == ()
    assert await bench.queue.counters() == {"orphaned": 1}


async def test_a_parked_id_comes_back_with_its_score_when_its_record_does(bench: Bench) -> None:
    task = bench.task(priority="P1")
    await bench.client.zadd(bench.queue.keys.tasks, {task.task_id: 2})
    await bench.claim()
    await bench.queue.reap()
    assert (await bench.queue.snapshot()).orphaned == 1
    await bench.client.hset(
        bench.queue.keys.record(task.task_id), mapping={"data": task.encode(), "status": "pending"}
    )
    await bench.queue.reap()
    assert await bench.client.zscore(bench.queue.keys.tasks, task.task_id) == 2
    assert (await bench.queue.snapshot()).orphaned == 0
    assert (await bench.claim()).claims[0].task.task_id == task.task_id


@pytest.mark.parametrize("data", ["", "{", "[]", "null", "\x00", '{"a": 1} x'])
async def test_a_record_that_is_no_json_object_is_parked_like_a_missing_one(
    bench: Bench, data: str
) -> None:
    await bench.client.hset(bench.queue.keys.record("odd"), mapping={"data": data})
    await bench.client.zadd(bench.queue.keys.tasks, {"odd": 1})
    assert (await bench.claim(5)).claims == ()
    assert (await bench.queue.snapshot()).orphaned == 1


async def test_a_json_object_that_is_no_task_is_failed_with_the_reason(bench: Bench) -> None:
    await bench.client.hset(
        bench.queue.keys.record("odd"),
        mapping={"data": '{"task_id": "odd", "assigned_to": "ops", "payload": []}'},
    )
    await bench.client.zadd(bench.queue.keys.tasks, {"odd": 1})
    await bench.enqueue(bench.task())
    assert len((await bench.claim(5)).claims) == 1
    assert await bench.field("odd", "status") == "failed"
    assert "data is not a task" in await bench.text("odd")
    assert (await bench.queue.snapshot()).dead == 1


async def test_records_that_are_no_tasks_keep_no_other_waiting(bench: Bench) -> None:
    for number in range(2):
        await bench.client.hset(
            bench.queue.keys.record(f"odd{number}"),
            mapping={"data": '{"task_id": "odd", "assigned_to": "ops", "payload": []}'},
        )
        await bench.client.zadd(bench.queue.keys.tasks, {f"odd{number}": 1})
    await bench.enqueue(bench.task(priority="P3"))

    first = await bench.claim(2)

    assert (first.claims, first.more) == ((), True)
    assert len((await bench.claim(2)).claims) == 1


@pytest.mark.parametrize("status", ["cancelled", "completed", "failed"])
async def test_a_task_that_ended_while_waiting_is_removed_without_running(
    bench: Bench, status: str
) -> None:
    in_hash, in_data = bench.task(), bench.task(metadata={"where": "data"})
    await bench.enqueue(in_hash, msgspec.structs.replace(in_data, status=status))
    await bench.client.hset(bench.queue.keys.record(in_hash.task_id), "status", status)
    await bench.client.hset(bench.queue.keys.record(in_data.task_id), "status", "pending")
    assert (await bench.claim(5)).claims == ()
    assert await bench.waiting() == []
    assert await bench.queue.counters() == {"skipped": 2}
    assert await bench.field(in_hash.task_id, "status") == status


async def test_a_task_another_consumer_popped_costs_only_that_task(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(3)))
    await bench.client.zpopmin(bench.queue.keys.tasks)
    assert len((await bench.claim(5)).claims) == 2
    assert (await bench.queue.snapshot()).pending == 0


async def test_an_id_queued_again_while_it_runs_is_not_handed_out_twice(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.client.zadd(bench.queue.keys.tasks, {claim.task.task_id: 3})
    assert (await bench.claim(5, owner="pod-2")).claims == ()
    assert await bench.finish(claim.lease)
    assert (await bench.claim(5, owner="pod-2")).claims == ()
    assert await bench.waiting() == []


async def test_a_failed_task_that_is_queued_anew_runs_again_and_leaves_the_dead(
    bench: Bench,
) -> None:
    claim = await bench.claim_one()
    await bench.finish(claim.lease, status="failed", error="no")
    await bench.produce(msgspec.structs.replace(claim.task, status="pending"))
    (again,) = (await bench.claim()).claims
    assert again.lease.fence > claim.lease.fence
    assert again.lease == msgspec.structs.replace(claim.lease, fence=again.lease.fence)
    assert (await bench.queue.snapshot()).dead == 0
    assert await bench.client.ttl(bench.queue.keys.record(claim.task.task_id)) == -1


async def test_a_finished_task_the_orchestrator_queues_anew_does_not_expire(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.finish(claim.lease)
    await bench.produce(msgspec.structs.replace(claim.task, status="pending"))
    await bench.claim()
    assert await bench.client.ttl(bench.queue.keys.record(claim.task.task_id)) == -1


async def test_a_delayed_task_the_orchestrator_queues_anew_runs_now_and_once(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=LONG_MS, error="x")
    await bench.produce(claim.task)
    assert len((await bench.claim(5)).claims) == 1
    assert (await bench.queue.snapshot()).delayed == 0


async def test_a_parked_id_the_orchestrator_queues_anew_is_parked_no_longer(bench: Bench) -> None:
    task = bench.task()
    await bench.client.zadd(bench.queue.keys.tasks, {task.task_id: 3})
    await bench.claim()
    await bench.produce(task)
    assert len((await bench.claim()).claims) == 1
    assert (await bench.queue.snapshot()).orphaned == 0


async def test_ids_of_any_bytes_survive(bench: Bench) -> None:
    task = msgspec.structs.replace(bench.task(), task_id='we{}ird:"\\ id\udcff\u20ac')
    record = msgspec.structs.replace(task, task_id="plain")
    keys = bench.queue.keys
    await bench.client.hset(keys.record(task.task_id), mapping={"data": record.encode()})
    await bench.client.zadd(keys.tasks, {task.task_id: 3})
    (claim,) = (await bench.claim()).claims
    assert claim.lease.task_id == task.task_id
    assert await bench.finish(claim.lease, status="failed", error="x")
    assert (await bench.queue.snapshot()).dead == 1


async def test_an_idle_claim_writes_nothing(bench: Bench) -> None:
    await bench.enqueue(bench.task(assigned_to="dev"))
    await bench.claim(5)
    before = await bench.client.info("persistence")
    await bench.claim(5)
    after = await bench.client.info("persistence")
    assert after["rdb_changes_since_last_save"] == before["rdb_changes_since_last_save"]


@pytest.mark.parametrize("name", ["owner", "version", "token"])
async def test_what_is_kept_line_by_line_has_no_second_line(bench: Bench, name: str) -> None:
    names = {"owner": "pod-1", "version": "v1", "token": "t", name: "a\nb"}
    with pytest.raises(ValueError, match="single lines"):
        await bench.claim(1, owner=names["owner"], version=names["version"], token=names["token"])


@pytest.mark.parametrize(("count", "lease_ms"), [(0, 1), (1, 0), (-1, 1)])
async def test_a_claim_for_nothing_is_a_mistake(bench: Bench, count: int, lease_ms: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await bench.claim(count, lease_ms=lease_ms)


async def test_types_that_are_not_wanted_now_stay_where_they_are(bench: Bench) -> None:
    deploy, monitor = bench.task(type="deploy", priority="P0"), bench.task(type="monitor")
    await bench.enqueue(deploy, monitor)
    (claim,) = (await bench.claim(5, without=["deploy", "alert"])).claims
    assert claim.task.task_id == monitor.task_id
    assert await bench.waiting() == [deploy.task_id]
    (claim,) = (await bench.claim(5)).claims
    assert claim.task.task_id == deploy.task_id


async def test_no_more_of_a_type_is_handed_out_than_there_is_room_for(bench: Bench) -> None:
    deploys = [bench.task(type="deploy", priority="P0") for _ in range(40)]
    monitors = [bench.task(type="monitor", priority="P3") for _ in range(3)]
    await bench.enqueue(*deploys, *monitors)

    claims = (await bench.claim(16, room={"deploy": 2, "alert": 0})).claims

    types = [claim.task.type for claim in claims]
    assert types == ["deploy", "deploy", "monitor", "monitor", "monitor"]
    assert [claim.task.task_id for claim in claims[:2]] == [task.task_id for task in deploys[:2]]
    rest = [claim.task.task_id for claim in (await bench.claim(100)).claims]
    assert rest == [task.task_id for task in deploys[2:]]


async def test_one_that_is_not_handed_out_leaves_its_room_to_the_next_of_its_type(
    bench: Bench,
) -> None:
    cancelled, waiting = bench.task(type="deploy"), bench.task(type="deploy")
    await bench.enqueue(cancelled, waiting)
    await bench.client.hset(bench.queue.keys.record(cancelled.task_id), "status", "cancelled")

    (claim,) = (await bench.claim(5, room={"deploy": 1})).claims

    assert claim.task.task_id == waiting.task_id


async def test_room_is_for_what_a_task_is_now_not_for_what_it_was(bench: Bench) -> None:
    tasks = [bench.task(type="monitor") for _ in range(4)]
    await bench.enqueue(*tasks)
    await bench.claim(1, room={"monitor": 0})  # sorts them in
    for task in tasks:
        changed = msgspec.structs.replace(task, type="deploy")
        await bench.client.hset(
            bench.queue.keys.record(task.task_id), mapping={"data": changed.encode()}
        )

    claims = (await bench.claim(4, room={"deploy": 1})).claims

    assert [claim.task.type for claim in claims] == ["deploy"]
    assert len((await bench.claim(4)).claims) == 3


async def test_a_claim_shows_the_record_as_it_left_it(bench: Bench) -> None:
    claim = await bench.claim_one()
    assert claim.data == await bench.text(claim.task.task_id)
