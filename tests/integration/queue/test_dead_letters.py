"""Dead letters: looked at, replayed with everything a new task has, or dropped; never lost on the way."""

import json
import uuid
from typing import Any

import pytest

from fixtures.queue_bench import LONG_MS, Bench
from fixtures.strict_reader import StrictTask
from opsagent_queue import Event, Replayed, Task
from opsagent_queue.scripts import Scripts

pytestmark = pytest.mark.integration


async def die(bench: Bench, **fields: Any) -> Task:
    """A task that failed for good after its second attempt."""
    claim = await bench.claim_one(**fields)
    await bench.retry(claim.lease, error="not yet")
    (again,) = (await bench.claim()).claims
    assert await bench.finish(
        again.lease, status="failed", error="no such project", error_class="PermanentError"
    )
    return again.task


async def letters(bench: Bench) -> list[str]:
    return [letter.task_id for letter in await bench.queue.dead_letters(limit=100)]


async def test_a_letter_tells_why_and_after_what(bench: Bench) -> None:
    task = await die(bench, type="deploy")
    (letter,) = await bench.queue.dead_letters(limit=10)
    assert (letter.task_id, letter.reason) == (task.task_id, "failed")
    assert (letter.error, letter.error_class) == ("no such project", "PermanentError")
    assert (letter.attempts, letter.crashes, letter.versions) == (2, 0, ("v1",))
    assert abs(letter.died_ms - (await bench.queue.snapshot()).time_ms) < LONG_MS
    assert letter.task == await bench.data(task.task_id)
    assert letter.task.type == "deploy"


async def test_letters_come_page_by_page_the_newest_first(bench: Bench) -> None:
    ids = [(await die(bench)).task_id for _ in range(3)]
    dead = bench.queue.keys.own("dead")
    await bench.client.zadd(dead, {id_: at for at, id_ in enumerate(ids, start=1)})
    newest = await bench.queue.dead_letters(limit=2)
    oldest = await bench.queue.dead_letters(limit=2, offset=2)
    assert [letter.task_id for letter in (*newest, *oldest)] == ids[::-1]
    assert await bench.queue.dead_letters(limit=2, offset=3) == ()


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"attempts": "many"}', '{"versions": {}}'])
async def test_a_letter_that_others_damaged_still_shows_its_task(bench: Bench, text: str) -> None:
    task = await die(bench)
    await bench.client.hset(bench.queue.keys.own("dead:records"), task.task_id, text)
    (letter,) = await bench.queue.dead_letters(limit=10)
    assert (letter.task_id, letter.reason, letter.versions) == (task.task_id, "unknown", ())
    assert letter.task == await bench.data(task.task_id)
    assert (await bench.queue.replay([task.task_id])).replayed == {task.task_id}


async def test_a_letter_without_its_record_is_shown_too(bench: Bench) -> None:
    task = await die(bench)
    await bench.client.delete(bench.queue.keys.record(task.task_id))
    (letter,) = await bench.queue.dead_letters(limit=10)
    assert (letter.error, letter.task) == ("no such project", None)


async def test_an_error_that_is_no_text_is_shown_as_far_as_it_is(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.finish(claim.lease, status="failed", error="bad \udcff byte", error_class="X")
    (letter,) = await bench.queue.dead_letters(limit=10)
    assert letter.error == r"bad \udcff byte"


async def test_a_replayed_task_is_as_good_as_new(bench: Bench) -> None:
    task = await die(bench, priority="P1", metadata={"tags": [], "big": 12345678901234567890})
    record = bench.queue.keys.record(task.task_id)
    assert await bench.client.pttl(record) > 0

    replayed = await bench.queue.replay([task.task_id])

    assert replayed == Replayed(replayed=frozenset({task.task_id}), refused={})
    text = await bench.text(task.task_id)
    StrictTask.model_validate_json(text)
    after = await bench.data(task.task_id)
    assert (after.status, after.error, after.retry_count) == ("pending", None, 0)
    assert (after.started_at, after.completed_at) == (None, None)
    assert '"tags": [], "big": 12345678901234567890' in text
    assert await bench.field(task.task_id, "status") == "pending"
    assert await bench.client.pttl(record) == -1
    assert await bench.client.zscore(bench.queue.keys.tasks, task.task_id) == 2.0
    assert await letters(bench) == []
    assert await bench.client.hlen(bench.queue.keys.own("dead:records")) == 0
    (claim,) = (await bench.claim()).claims
    assert (claim.lease.attempt, claim.lease.crashes) == (1, 0)
    assert await bench.finish(claim.lease)


async def test_the_crashes_of_a_poisoned_task_are_forgotten(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    for _ in range(3):
        (claim,) = (await bench.claim()).claims
        await bench.expire(claim.lease)
        await bench.queue.reap()
    (letter,) = await bench.queue.dead_letters(limit=10)
    assert (letter.reason, letter.crashes, letter.error_class) == ("poisoned", 3, "WorkerCrash")

    await bench.queue.replay([letter.task_id])

    (claim,) = (await bench.claim()).claims
    assert claim.lease.crashes == 0
    await bench.expire(claim.lease)
    assert (await bench.queue.reap()).requeued == 1


async def test_a_score_that_the_producer_chose_itself_is_restored(bench: Bench) -> None:
    task = bench.task()
    await bench.enqueue(task)
    await bench.client.zadd(bench.queue.keys.tasks, {task.task_id: 0.25})
    (claim,) = (await bench.claim()).claims
    await bench.finish(claim.lease, status="failed", error="x", error_class="X")
    await bench.queue.replay([task.task_id])
    assert await bench.client.zscore(bench.queue.keys.tasks, task.task_id) == 0.25


async def test_a_replayed_task_is_announced_as_a_new_one(bench: Bench) -> None:
    task = await die(bench, priority="P0")
    created, everything = bench.queue.keys.channels("task.created")
    async with bench.client.pubsub() as pubsub:
        await pubsub.subscribe(created, everything)
        await bench.queue.replay([task.task_id])
        heard: list[tuple[str, Event]] = []
        while len(heard) < 2:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=10)
            if message is not None:
                heard.append((message["channel"], Event.decode(message["data"])))
    assert [channel for channel, _ in heard] == [created, everything]
    assert heard[0][1] == heard[1][1]
    event = heard[0][1]
    assert (event.task_id, event.trace_id) == (task.task_id, task.trace_id)
    assert event.payload == {"task_type": "monitor", "priority": "P0", "assigned_to": "ops"}


async def test_what_cannot_be_replayed_is_told_and_kept(bench: Bench) -> None:
    gone, garbled, done, stopped = [(await die(bench)).task_id for _ in range(4)]
    await bench.client.delete(bench.queue.keys.record(gone))
    await bench.client.hset(bench.queue.keys.record(garbled), "data", "{")
    await bench.client.hset(bench.queue.keys.record(done), "status", "completed")
    await bench.client.hset(bench.queue.keys.record(stopped), "status", "cancelled")

    replayed = await bench.queue.replay([gone, garbled, done, stopped, "never-heard-of"])

    assert replayed.replayed == frozenset()
    assert replayed.refused == {
        gone: "no record",
        garbled: "no record",
        done: "completed",
        stopped: "cancelled",
        "never-heard-of": "not dead",
    }
    assert set(await letters(bench)) == {gone, garbled, done, stopped}
    assert await bench.waiting() == []


async def test_a_task_is_replayed_once_however_often_it_is_asked_for(bench: Bench) -> None:
    task = await die(bench)
    first = await bench.queue.replay([task.task_id, task.task_id])
    assert first.replayed == {task.task_id}
    (claim,) = (await bench.claim()).claims
    second = await bench.queue.replay([task.task_id])
    assert second.refused == {task.task_id: "not dead"}
    assert await bench.waiting() == []
    assert await bench.finish(claim.lease)
    assert (await bench.data(task.task_id)).status == "completed"


async def test_a_replay_sent_again_after_the_task_died_once_more_is_no_other_replay(
    bench: Bench,
) -> None:
    scripts, token = Scripts(bench.client, bench.queue.keys), str(uuid.uuid4())
    task = await die(bench)
    assert await scripts.run("replay", token, task.task_id) == [1]
    (again,) = (await bench.claim()).claims
    assert await bench.finish(again.lease, status="failed", error="x")
    assert await scripts.run("replay", token, task.task_id) == [1]
    assert await bench.waiting() == []
    assert await letters(bench) == [task.task_id]


async def test_more_ids_than_one_script_call_takes_are_all_replayed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsagent_queue.dead_letters._AT_ONCE", 2)
    ids = {(await die(bench)).task_id for _ in range(5)}
    assert (await bench.queue.replay(list(ids))).replayed == ids
    assert set(await bench.waiting()) == ids


async def test_a_dropped_letter_leaves_its_record_to_expire(bench: Bench) -> None:
    dropped, kept = (await die(bench)).task_id, (await die(bench)).task_id
    before = await bench.text(dropped)
    assert await bench.queue.drop([dropped, "never-heard-of"]) == 1
    assert await letters(bench) == [kept]
    assert await bench.client.hkeys(bench.queue.keys.own("dead:records")) == [kept]
    assert await bench.text(dropped) == before
    assert 0 < await bench.client.pttl(bench.queue.keys.record(dropped)) <= LONG_MS
    assert await bench.queue.drop([dropped]) == 0
    assert (await bench.queue.replay([dropped])).refused == {dropped: "not dead"}
    assert await bench.waiting() == []


async def test_a_task_whose_letter_tells_no_score_goes_by_its_priority(bench: Bench) -> None:
    task = await die(bench, priority="P3")
    records = bench.queue.keys.own("dead:records")
    letter = json.loads(str(await bench.client.hget(records, task.task_id)))
    del letter["score"]
    await bench.client.hset(records, task.task_id, json.dumps(letter))
    await bench.queue.replay([task.task_id])
    assert await bench.client.zscore(bench.queue.keys.tasks, task.task_id) == 4.0


async def test_wrong_arguments_are_told(bench: Bench) -> None:
    with pytest.raises(ValueError, match="limit"):
        await bench.queue.dead_letters(limit=0)
    with pytest.raises(ValueError, match="list"):
        await bench.queue.replay("one-id")
