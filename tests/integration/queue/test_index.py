"""The index beside the shared queue: order, foreign tasks, and that it hides nothing, ever."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Claim, Task, TaskQueue

pytestmark = pytest.mark.integration

MISLEADING = '"created_at": "x"'
OWN_KEYS = ("index", "types", "foreign", "held", "ready:monitor", "ready:deploy")


def aged(bench: Bench, number: int, **fields: str) -> list[Task]:
    """Tasks a second apart, the oldest first."""
    return [
        replace(bench.task(**fields), created_at=bench.iso(1_700_000_000 + second))
        for second in range(number)
    ]


async def indexed(bench: Bench) -> int:
    """Bring the index up to date; returns how many steps that took."""
    steps = 1
    while await bench.queue.index():
        steps += 1
        assert steps < 1000
    return steps


async def drain(bench: Bench, *, batch: int = 32) -> list[Claim]:
    """Claim as a worker does until nothing is left."""
    claims: list[Claim] = []
    while True:
        result = await bench.claim(batch)
        claims += result.claims
        if not result.claims and not result.more:
            return claims


def ids(claims: list[Claim] | tuple[Claim, ...]) -> list[str]:
    return [claim.task.task_id for claim in claims]


async def test_a_thousand_tasks_of_one_priority_come_out_first_in_first_out(bench: Bench) -> None:
    tasks = aged(bench, 1000)
    await bench.produce(*reversed(tasks))
    await indexed(bench)
    assert ids(await drain(bench)) == [task.task_id for task in tasks]


async def test_microseconds_count(bench: Bench) -> None:
    stamps = [f"2026-11-24T12:00:00.{micro:06d}+00:00" for micro in range(10)]
    tasks = [replace(bench.task(), created_at=stamp) for stamp in stamps]
    await bench.produce(*reversed(tasks))
    assert [claim.task.created_at for claim in await drain(bench)] == stamps


async def test_order_is_kept_across_types(bench: Bench) -> None:
    types = ["monitor", "deploy", "alert"]
    tasks = [replace(task, type=types[number % 3]) for number, task in enumerate(aged(bench, 90))]
    await bench.produce(*tasks)
    await indexed(bench)
    assert ids(await drain(bench, batch=7)) == [task.task_id for task in tasks]


@pytest.mark.parametrize("batch", [1, 5, 16, 40])
async def test_of_every_sixteen_tasks_handed_out_one_is_the_oldest(
    bench: Bench, batch: int
) -> None:
    """Without that rule a P3 would wait for as long as anything more urgent arrives."""
    old = aged(bench, 10, priority="P3")
    urgent = [bench.task(priority="P0") for _ in range(160)]
    await bench.produce(*urgent, *old)
    await indexed(bench)
    seen = 0
    claims: list[Claim] = []
    while len(claims) < 160:
        claims += (await bench.claim(min(batch, 160 - len(claims)))).claims
        found = [claim.task.task_id for claim in claims if claim.task.priority == "P3"]
        assert len(found) == len(claims) // 16
        assert found == [task.task_id for task in old[: len(found)]]
        seen = len(found)
    assert seen == 10


async def test_a_new_task_behind_ten_thousand_foreign_ones_is_found_at_once(bench: Bench) -> None:
    await bench.produce(*(bench.task(assigned_to="dev", priority="P0") for _ in range(10_000)))
    assert await indexed(bench) > 10
    order = await bench.waiting()
    heard = bench.task(priority="P3")
    await bench.produce(heard)
    result = await bench.claim(4, hints=[heard.task_id])
    assert (ids(result.claims), result.more) == ([heard.task_id], False)
    assert await bench.waiting() == order


async def test_a_new_task_nobody_heard_of_is_found_within_some_steps(bench: Bench) -> None:
    await bench.produce(*(bench.task(assigned_to="dev") for _ in range(1000)))
    await indexed(bench)
    unheard = bench.task(priority="P3")
    await bench.produce(unheard)
    for _ in range(10):
        result = await bench.claim(4)
        if result.claims:
            break
        assert result.more
    assert ids(result.claims) == [unheard.task_id]
    assert (await bench.claim(4)).more is False


async def test_a_queue_nobody_has_looked_at_is_worked_off_from_the_first_claim_on(
    bench: Bench,
) -> None:
    mixed = [bench.task(assigned_to="dev" if number % 3 else "ops") for number in range(2000)]
    await bench.produce(*mixed)
    claims = await drain(bench)
    ours = {task.task_id for task in mixed if task.assigned_to == "ops"}
    assert set(ids(claims)) == ours
    assert len(claims) == len(ours)
    assert set(await bench.waiting()) == {task.task_id for task in mixed} - ours


async def test_foreign_tasks_their_agents_took_hide_no_new_one(bench: Bench) -> None:
    """As many left as arrived: by numbers alone the index would seem complete."""
    await bench.produce(*(bench.task(assigned_to="dev") for _ in range(300)))
    await indexed(bench)
    await bench.client.zpopmin(bench.queue.keys.tasks, 5)
    ours = [bench.task(priority="P3") for _ in range(5)]
    await bench.produce(*ours)
    assert set(ids(await drain(bench))) == {task.task_id for task in ours}


async def test_foreign_tasks_taken_from_anywhere_hide_no_new_one_for_ever(bench: Bench) -> None:
    tasks = [bench.task(assigned_to="dev") for _ in range(1000)]
    await bench.produce(*tasks)
    await indexed(bench)
    for task in (await bench.waiting())[500:503]:
        await bench.client.zrem(bench.queue.keys.tasks, task)
    ours = [bench.task(priority="P3") for _ in range(3)]
    await bench.produce(*ours)
    found: set[str] = set()
    for _ in range(20):
        found |= set(ids((await bench.claim(4)).claims))
    assert found == {task.task_id for task in ours}


@pytest.mark.parametrize("lost", [OWN_KEYS, *((key,) for key in OWN_KEYS)])
async def test_whatever_of_the_index_is_lost_comes_back(
    bench: Bench, lost: tuple[str, ...]
) -> None:
    ours = aged(bench, 300)
    foreign = [bench.task(assigned_to="dev") for _ in range(300)]
    deploys = [bench.task(type="deploy", priority="P3") for _ in range(10)]
    await bench.produce(*ours, *foreign, *deploys)
    await indexed(bench)
    await bench.client.delete(*(bench.queue.keys.own(name) for name in lost))
    claims = await drain(bench)
    assert sorted(ids(claims)) == sorted(task.task_id for task in ours + deploys)
    assert set(await bench.waiting()) == {task.task_id for task in foreign}


async def test_after_a_flush_the_queue_starts_anew(bench: Bench) -> None:
    await bench.claim_one()
    await bench.client.flushall()
    task = bench.task()
    await bench.produce(task)
    assert ids((await bench.claim()).claims) == [task.task_id]


async def test_a_task_of_ours_that_somebody_else_took_is_not_handed_out(bench: Bench) -> None:
    await bench.produce(*(bench.task() for _ in range(100)))
    await indexed(bench)
    before = set(await bench.waiting())
    await bench.client.zpopmin(bench.queue.keys.tasks, 40)
    gone = before - set(await bench.waiting())
    claims = await drain(bench)
    assert len(claims) == 60
    assert not gone & set(ids(claims))


async def test_a_task_that_becomes_ours_while_it_waits_is_found(bench: Bench) -> None:
    task = bench.task(assigned_to="dev")
    await bench.produce(task)
    assert (await bench.claim()).claims == ()
    await bench.produce(replace(task, assigned_to="ops"))
    assert ids(await drain(bench)) == [task.task_id]


async def test_each_of_many_foreign_tasks_is_read_again_by_and_by(bench: Bench) -> None:
    tasks = [bench.task(assigned_to="dev") for _ in range(300)]
    await bench.produce(*tasks)
    await indexed(bench)
    ours = tasks[::60]
    await bench.produce(*(replace(task, assigned_to="ops") for task in ours))
    found: set[str] = set()
    for _ in range(300 // 16 + 2):
        found |= set(ids((await bench.claim(4)).claims))
    assert found == {task.task_id for task in ours}


async def test_a_task_that_becomes_foreign_while_it_waits_is_left_where_it_is(bench: Bench) -> None:
    task = bench.task()
    await bench.produce(task)
    await indexed(bench)
    await bench.produce(replace(task, assigned_to="dev"))
    assert await drain(bench) == []
    assert await bench.waiting() == [task.task_id]


async def test_an_index_made_for_other_agents_is_made_anew(bench: Bench, client: Redis) -> None:
    ours, foreign = bench.task(), bench.task(assigned_to="dev")
    await bench.produce(ours, foreign)
    await indexed(bench)
    everybody = Bench(TaskQueue(client, worker="prod/ops-agent", agents=["dev"]), client)
    assert ids(await drain(everybody)) == [foreign.task_id]
    assert ids(await drain(bench)) == [ours.task_id]


async def test_an_index_for_other_agents_is_complete_after_some_steps(
    bench: Bench, client: Redis
) -> None:
    await bench.produce(*(bench.task(assigned_to="ops") for _ in range(300)))
    await bench.produce(*(bench.task(assigned_to="dev") for _ in range(200)))
    await indexed(bench)
    other = Bench(TaskQueue(client, worker="prod/ops-agent", agents=["dev"]), client)
    assert await indexed(other) <= 4
    assert await client.zcard(bench.queue.keys.own("ready:monitor")) == 200
    assert await client.zcard(bench.queue.keys.own("foreign")) == 300


async def test_equals_of_different_types_come_by_their_ids(bench: Bench) -> None:
    tasks = [
        replace(
            bench.task(type=kind), task_id=f"task-{number}", created_at="2026-11-24T12:00:00+00:00"
        )
        for number, kind in enumerate(["deploy", "monitor", "alert", "deploy", "monitor", "alert"])
    ]
    await bench.produce(*tasks)
    assert ids(await drain(bench)) == [task.task_id for task in tasks]


async def test_a_task_that_became_one_of_a_type_not_wanted_now_waits(bench: Bench) -> None:
    task = bench.task(type="monitor")
    await bench.produce(task)
    await indexed(bench)
    await bench.produce(replace(task, type="deploy"))
    assert (await bench.claim(5, without=["deploy"])).claims == ()
    assert await bench.waiting() == [task.task_id]
    assert ids((await bench.claim(5)).claims) == [task.task_id]


async def test_a_new_priority_counts_from_the_next_look_on(bench: Bench) -> None:
    tasks = aged(bench, 3, priority="P3")
    await bench.produce(*tasks)
    await indexed(bench)
    await bench.client.zadd(bench.queue.keys.tasks, {tasks[2].task_id: 1.0})
    result = await bench.claim(1, hints=[tasks[2].task_id])
    assert ids(result.claims) == [tasks[2].task_id]


async def test_a_type_that_waits_for_its_turn_does_not_hold_up_the_others(bench: Bench) -> None:
    deploys = [bench.task(type="deploy", priority="P0") for _ in range(500)]
    monitors = aged(bench, 3, priority="P3")
    await bench.produce(*deploys, *monitors)
    await indexed(bench)
    result = await bench.claim(8, without=["deploy"])
    assert ids(result.claims) == [task.task_id for task in monitors]
    assert result.more is False


async def test_an_id_queued_again_while_it_runs_waits_until_its_lease_ends(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.produce(replace(claim.task, status="pending"))
    for _ in range(2):
        assert (await bench.claim(5)).claims == ()
    assert await bench.queue.release([claim.lease]) == 1
    assert ids((await bench.claim(5)).claims) == [claim.task.task_id]
    assert (await bench.claim(5)).claims == ()


async def test_an_id_queued_again_that_somebody_takes_back_hides_no_new_one(bench: Bench) -> None:
    """One left that was known, one came that is not: by numbers alone all is known."""
    claim = await bench.claim_one()
    await bench.produce(replace(claim.task, status="pending"))
    assert (await bench.claim(5)).claims == ()
    await bench.client.zrem(bench.queue.keys.tasks, claim.task.task_id)
    task = bench.task()
    await bench.produce(task)
    assert ids(await drain(bench)) == [task.task_id]


async def test_an_id_queued_again_whose_record_is_gone_is_not_parked_while_it_runs(
    bench: Bench,
) -> None:
    claim = await bench.claim_one()
    await bench.client.delete(bench.queue.keys.record(claim.task.task_id))
    await bench.client.zadd(bench.queue.keys.tasks, {claim.task.task_id: 1})
    assert (await bench.claim(5)).claims == ()
    assert await bench.queue.counters() == {}
    assert await bench.finish(claim.lease)
    assert (await bench.claim(5)).claims == ()
    assert await bench.queue.counters() == {"orphaned": 1}


async def test_an_id_thought_to_run_whose_lease_is_gone_is_handed_out(bench: Bench) -> None:
    claim = await bench.claim_one()
    keys = bench.queue.keys
    await bench.produce(replace(claim.task, status="pending"))
    assert (await bench.claim(5)).claims == ()
    await bench.client.delete(keys.own("claims"), keys.own("leases"), keys.processing)
    assert ids(await drain(bench)) == [claim.task.task_id]


async def test_a_thousand_cancelled_tasks_in_front_hide_nothing(bench: Bench) -> None:
    ended = [bench.task(priority="P0") for _ in range(1000)]
    task = bench.task(priority="P3")
    await bench.produce(*ended, task)
    await indexed(bench)
    await bench.produce(*(replace(one, status="cancelled") for one in ended))
    assert ids(await drain(bench)) == [task.task_id]
    assert await bench.queue.counters() == {"skipped": 1000}


@pytest.mark.parametrize("kind", ["", 7, None, ["x"], "a b:\n"])
async def test_a_type_of_any_kind_hides_no_task(bench: Bench, kind: object) -> None:
    task = bench.task()
    text = task.encode().replace(
        '"type": "monitor"', f'"type": {msgspec.json.encode(kind).decode()}'
    )
    await bench.produce(task)
    await bench.client.hset(bench.queue.keys.record(task.task_id), "data", text)
    claims = await drain(bench)
    assert len(claims) == isinstance(kind, str)
    assert await bench.waiting() == []


@pytest.mark.parametrize(
    ("before", "after", "ours"),
    [
        ('"payload": {', '"payload": {"assigned_to": "dev"', True),
        ('"payload": {', '"payload": {"status": "completed"', True),
        ('"payload": {', '"payload": {"type": "deploy"', True),
        ('"assigned_to": "ops"', '"assigned_to":"ops"', True),
        ('"assigned_to": "ops"', '"assigned_to": "o\\u0070s"', True),
        ('"payload": {}, ', '"assigned_to": "dev", "payload": {}, ', True),
        ('"max_retries": 3', '"max_retries": 3, "assigned_to": "dev"', False),
        ('"assigned_to": "ops"', '"assigned_to": null', False),
        ('"payload": {', '"payload": {"assigned_to": "ops", "created_at": "x"', True),
        # Written so as to mislead: one name as an escape, and the same name in the payload.
        ('"payload": {}', f'"payload": {{{MISLEADING}, "assigned_to": "dev", {MISLEADING}}}', True),
        (
            '"payload": {}',
            f'"payload": {{{MISLEADING}, "assigned_to": "ops", {MISLEADING}}}',
            False,
        ),
    ],
)
async def test_whose_a_task_is_says_its_top_level_alone(
    bench: Bench, before: str, after: str, ours: bool
) -> None:
    task = bench.task(payload={})
    text = task.encode()
    if MISLEADING in after:
        written = "ops" if ours else "dev"
        text = text.replace('"assigned_to": "ops"', f'"assigned\\u005fto": "{written}"')
    assert before in text
    await bench.produce(task)
    await bench.client.hset(
        bench.queue.keys.record(task.task_id), "data", text.replace(before, after)
    )
    assert ids(await drain(bench)) == [task.task_id] * ours
    assert await bench.waiting() == [task.task_id] * (not ours)


async def test_without_a_readable_age_a_task_is_as_old_as_our_knowledge_of_it(bench: Bench) -> None:
    unknown = replace(bench.task(), created_at="yesterday")
    await bench.enqueue(unknown)
    await indexed(bench)
    known = aged(bench, 2)
    await bench.produce(*known)
    assert ids(await drain(bench)) == [*(task.task_id for task in known), unknown.task_id]


async def test_indexing_twice_changes_nothing(bench: Bench) -> None:
    await bench.produce(*aged(bench, 10), bench.task(assigned_to="dev"))
    await indexed(bench)
    before = await bench.client.info("persistence")
    assert await bench.queue.index() == 0
    after = await bench.client.info("persistence")
    assert after["rdb_changes_since_last_save"] == before["rdb_changes_since_last_save"]


async def test_a_lone_task_that_was_announced_is_taken_without_a_trace_in_the_index(
    bench: Bench,
) -> None:
    task = bench.task()
    await bench.enqueue(task)
    result = await bench.claim(32, hints=[task.task_id])
    assert (ids(result.claims), result.more) == ([task.task_id], False)
    assert not await bench.client.exists(
        *(bench.queue.keys.own(part) for part in ("types", "foreign", "held", "ready:monitor"))
    )


async def _queued_again(bench: Bench, task: Task) -> None:
    await bench.produce(task)
    await bench.claim()
    await bench.produce(task)


LONE: Mapping[str, Callable[[Bench, Task], Awaitable[object]]] = {
    "is ours": lambda bench, task: bench.produce(task),
    "is of a type without room": lambda bench, task: bench.produce(replace(task, type="deploy")),
    "is another agent's": lambda bench, task: bench.produce(replace(task, assigned_to="dev")),
    "was cancelled": lambda bench, task: bench.produce(replace(task, status="cancelled")),
    "has no record": lambda bench, task: bench.client.zadd(
        bench.queue.keys.tasks, {task.task_id: 3.0}
    ),
    "runs already": _queued_again,
}


@pytest.mark.parametrize("what", LONE)
async def test_a_lone_task_fares_the_same_whether_it_was_announced_or_not(
    bench: Bench, what: str
) -> None:
    """The short cut for it decides nothing by itself."""
    task, found = bench.task(), []
    for hints in ([], [task.task_id]):
        await bench.client.flushdb()
        await LONE[what](bench, task)
        result = await bench.claim(4, hints=hints, without=["deploy"])
        found.append((ids(result.claims), result.more, await _whereabouts(bench, task.task_id)))
    assert found[0] == found[1]


async def _whereabouts(bench: Bench, task_id: str) -> set[str]:
    """The sets and hashes that contain this id."""
    found = set[str]()
    for key in await bench.client.keys("*"):
        match await bench.client.type(key):
            case "zset":
                inside = await bench.client.zscore(key, task_id) is not None
            case "set":
                inside = bool(await bench.client.sismember(key, task_id))
            case "hash":
                inside = await bench.client.hexists(key, task_id)
            case _:
                inside = False
        if inside:
            found.add(str(key))
    return found


async def test_a_claim_that_takes_a_task_back_in_leaves_no_trace_of_it(bench: Bench) -> None:
    """Retried, released and reaped tasks are found again without a look at the whole queue."""
    await bench.produce(*(bench.task(assigned_to="dev", priority="P0") for _ in range(1000)))
    await indexed(bench)
    for how in ("retry", "release", "reap"):
        claim = await bench.claim_one(priority="P3")
        match how:
            case "retry":
                await bench.retry(claim.lease, delay_ms=0)
            case "release":
                await bench.queue.release([claim.lease])
            case _:
                await bench.expire(claim.lease)
                await bench.queue.reap()
        result = await bench.claim(2)
        assert (ids(result.claims), result.more) == ([claim.task.task_id], False)
        await bench.finish(result.claims[0].lease)
    assert not await bench.client.exists(bench.queue.keys.own("ready:monitor"))


async def test_a_large_queue_is_counted_by_its_index(bench: Bench) -> None:
    tasks = [bench.task(type="deploy") for _ in range(100)] + aged(bench, 200)
    await bench.produce(*tasks, *(bench.task(assigned_to="dev") for _ in range(400)))
    await indexed(bench)
    (claim,) = (await bench.claim()).claims
    await bench.retry(claim.lease, delay_ms=LONG_MS)
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign, snapshot.delayed) == (299, 400, 1)
    assert snapshot.pending_by_type == {"monitor": 199, "deploy": 100}
    assert snapshot.estimated is False
    assert snapshot.oldest_ms is not None
    assert abs(snapshot.time_ms - snapshot.oldest_ms - 1_700_000_001_000) < 10


async def test_a_due_retry_counts_as_pending(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0)
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.delayed, snapshot.next_due_ms) == (1, 0, 0)


async def test_what_the_reaper_brings_back_is_indexed_at_once(bench: Bench) -> None:
    ready = bench.queue.keys.own("ready:monitor")
    due, parked = await bench.claim_one(), bench.task()
    await bench.retry(due.lease, delay_ms=0)
    await bench.client.zadd(bench.queue.keys.own("orphaned"), {parked.task_id: 3})
    record = bench.queue.keys.record(parked.task_id)
    await bench.client.hset(record, "data", parked.encode())
    await bench.queue.reap()
    assert set(await bench.client.zrange(ready, 0, -1)) == {due.task.task_id, parked.task_id}


async def test_nothing_is_known_about_an_empty_queue(bench: Bench) -> None:
    await bench.produce(*(bench.task(assigned_to="dev") for _ in range(300)), bench.task())
    await indexed(bench)
    keys = bench.queue.keys
    known = [keys.own(name) for name in ("types", "foreign", "ready:monitor")]
    assert await bench.client.exists(*known) == 3
    await bench.client.delete(keys.tasks)

    result = await bench.claim(5)

    assert (result.claims, result.more, result.next_due_ms) == ((), False, None)
    assert await bench.client.exists(*known) == 0


async def test_foreign_tasks_that_left_are_not_counted(bench: Bench) -> None:
    await bench.produce(*(bench.task(assigned_to="dev") for _ in range(300)))
    await bench.produce(*(bench.task(priority="P3") for _ in range(100)))
    await indexed(bench)
    await bench.client.zpopmin(bench.queue.keys.tasks, 50)
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign) == (100, 250)
