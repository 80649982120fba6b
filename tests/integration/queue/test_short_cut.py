"""Ending a task with a record made beforehand: the same bytes as by the careful way, or no short cut."""

import asyncio
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fixtures.event_listener import Listener
from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Claim, Event, Finished, Lease, Task, TaskQueue, connect, parse_time
from opsagent_queue.endings import complete_arguments, edit_record, rebuild_record

pytestmark = pytest.mark.integration

TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")

tricky = st.text(st.sampled_from('abcé"\\/{}[]:, \n\t\x00€\0'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | tricky,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tricky, inner, max_size=3),
    max_leaves=8,
)
owned = st.sampled_from(["status", "error", "metadata", "completed_at", "result"])
objects = st.dictionaries(owned | tricky, values, max_size=4)
finite = st.dictionaries(
    tricky, st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | tricky
)
layouts = st.sampled_from(
    [{}, {}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}]
)


def ended(claim: Claim, **fields: Any) -> Finished:
    usual = {"lease": claim.lease, "status": "completed", "seconds": 0.25, "data": claim.data}
    return Finished(**{**usual, **fields})


async def finish(bench: Bench, one: Finished) -> bool:
    (taken,) = await bench.queue.finish([one], version="v1", result_ttl_ms=LONG_MS)
    return taken


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None
)
@given(
    payload=objects,
    metadata=st.just({}) | objects,
    result=st.none() | finite,
    layout=layouts,
    error=st.none() | tricky,
)
@example(payload={}, metadata={"result": 1}, result={}, layout={}, error=None)
@example(
    payload={"completed_at": None}, metadata={"a": []}, result={"b": "\0"}, layout={}, error=""
)
def test_both_ways_leave_the_same_record(
    redis_url: str,
    payload: dict[str, Any],
    metadata: dict[str, Any],
    result: dict[str, Any] | None,
    layout: dict[str, Any],
    error: str | None,
) -> None:
    async def both() -> list[str]:
        client = connect(redis_url)
        bench = Bench(TaskQueue(client, worker="prod/ops-agent"), client)
        texts = []
        for shown in (True, False):
            task = bench.task(payload=payload, metadata=metadata)
            task = msgspec.structs.replace(task, task_id="t", trace_id="x", created_at="2026")
            text = json.dumps(msgspec.to_builtins(task), **layout)
            await client.delete(bench.queue.keys.record("t"))
            await client.hset(bench.queue.keys.record("t"), "data", text)
            await client.zadd(bench.queue.keys.tasks, {"t": 3})
            (claim,) = (await bench.claim()).claims
            one = ended(claim, result=result, error=error, data=claim.data if shown else None)
            assert await finish(bench, one)
            texts.append(TIME.sub("<time>", await bench.text("t")))
            assert await bench.field("t", "status") == "completed"
        await client.aclose()
        return texts

    with_data, without = asyncio.run(both())
    assert with_data == without


awkward = st.sampled_from(
    [
        '"status": "in_progress"',
        '"completed_at": null',
        '"metadata": {}',
        '"completed"',
        "\\u0073tatus",
        "0000-time-of-the-end",
        "é",
    ]
)


@given(
    payload=st.dictionaries(
        st.sampled_from(["status", "completed_at", "metadata", "error", "x"]) | awkward,
        awkward
        | st.none()
        | st.sampled_from(["in_progress", "completed", {}, {"status": "in_progress"}]),
    ),
    status=st.sampled_from(["in_progress", "completed"]),
    error=st.none() | st.just("before"),
    result=st.none() | st.dictionaries(st.text(max_size=3), awkward | st.integers(), max_size=2),
    layout=st.sampled_from([{}, {"separators": (",", ":")}, {"ensure_ascii": False}]),
)
def test_an_edited_record_is_the_same_as_one_that_was_put_together_again(
    payload: dict[str, Any],
    status: str,
    error: str | None,
    result: dict[str, Any] | None,
    layout: dict[str, Any],
) -> None:
    task = Task.new(type="deploy", payload=payload)
    task = msgspec.structs.replace(task, status=status, error=error)
    data = json.dumps(msgspec.to_builtins(task), **layout)
    lease = Lease(task_id=task.task_id, owner="p", fence=7, attempt=1, crashes=0)
    one = Finished(lease=lease, status="completed", seconds=1, result=result, data=data)

    edited = edit_record(data, one)

    assert edited is None or edited == rebuild_record(data, one)


@pytest.mark.parametrize("result", [None, {"ok": True}])
def test_an_ordinary_record_is_edited(result: dict[str, Any] | None) -> None:
    task = msgspec.structs.replace(Task.new(type="deploy", payload={"x": 1}), status="in_progress")
    lease = Lease(task_id=task.task_id, owner="p", fence=7, attempt=1, crashes=0)
    one = Finished(lease=lease, status="completed", seconds=1, result=result, data=task.encode())

    assert edit_record(task.encode(), one) is not None


def test_the_short_cut_is_taken_for_an_ordinary_task() -> None:
    lease = msgspec.convert(
        {"task_id": "t", "owner": "p", "fence": 7, "attempt": 2, "crashes": 0},
        type=Finished.__annotations__["lease"],
    )
    data = Task.new(type="deploy", payload={"x": []}, metadata={"note": "é"}).encode()
    arguments = complete_arguments(
        Finished(lease=lease, status="completed", seconds=1, result={"ok": True}, data=data),
        version="v1",
    )
    assert arguments is not None
    record = json.loads(f"{arguments[5]}now{arguments[6]}")
    assert record == {
        **json.loads(data),
        "status": "completed",
        "completed_at": "now",
        "metadata": {"note": "é", "result": {"ok": True}},
        "retry_count": 1,
    }


@pytest.mark.parametrize(
    "data",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '{"status": "in_progress"}',
        '{"status":"in_progress","completed_at":null,"metadata":{},"error":null,"retry_count":0}',
        '{"status": "\udcff", "completed_at": null, "metadata": {}, "error": null, "retry_count": 0}',
        '{"error": 1, "status": 2, "error": 0, "completed_at": 1, "metadata": {}, "retry_count": 0}',
        '{"status": 1, "completed_at": null, "metadata": [], "error": null, "retry_count": 0}',
    ],
)
async def test_what_is_not_laid_out_as_the_orchestrator_does_takes_the_careful_way(
    bench: Bench, data: str | None
) -> None:
    claim = await bench.claim_one()
    one = ended(claim, result={"ok": True}, data=data)
    assert complete_arguments(one, version="v1") is None
    assert await finish(bench, one)
    assert (await bench.data(claim.task.task_id)).metadata == {"result": {"ok": True}}


@pytest.mark.parametrize("what", ["data", "status"])
async def test_a_record_somebody_touched_meanwhile_keeps_what_is_not_ours(
    bench: Bench, what: str
) -> None:
    claim = await bench.claim_one()
    patched = msgspec.structs.replace(claim.task, priority="P0", metadata={"reviewed": True})
    await bench.client.hset(
        bench.queue.keys.record(claim.task.task_id),
        what,
        patched.encode() if what == "data" else "cancelled",
    )
    assert await finish(bench, ended(claim, result={"ok": 1}))
    after = await bench.data(claim.task.task_id)
    if what == "data":
        assert (after.priority, after.status) == ("P0", "completed")
        assert after.metadata == {"reviewed": True, "result": {"ok": 1}}
    else:
        assert await bench.field(claim.task.task_id, "status") == "cancelled"
        assert await bench.queue.counters() == {"cancelled_while_running": 1}


async def test_the_event_of_the_short_cut_is_a_whole_one(bench: Bench, listener: Listener) -> None:
    claim = await bench.claim_one()
    await listener.events()
    assert await finish(bench, ended(claim))
    assert await finish(bench, ended(claim))
    (one, event), (two, same) = await listener.events()
    assert {one, two} == {"orchestrator:events:task.completed", "orchestrator:events:*"}
    assert event == same
    assert (event.task_id, event.trace_id) == (claim.task.task_id, claim.task.trace_id)
    assert (event.event_type, event.priority, event.source_agent) == (
        "task.completed",
        "medium",
        "ops",
    )
    assert parse_time(event.timestamp) is not None
    assert event.payload == {
        "status": "completed",
        "attempt": 1,
        "seconds": 0.25,
        "version": "v1",
        "error": None,
        "error_class": None,
        "task_type": "monitor",
    }
    (text,) = await bench.client.lrange(bench.queue.keys.own("recent"), 0, -1)
    assert Event.decode(str(text)).encode() == text


async def test_a_batch_of_all_kinds_answers_for_each_in_order(bench: Bench) -> None:
    await bench.enqueue(*(bench.task() for _ in range(6)))
    claims = (await bench.claim(6)).claims
    await bench.expire(claims[1].lease)
    await bench.queue.reap()
    (rescued,) = (await bench.claim()).claims
    await bench.client.hset(
        bench.queue.keys.record(claims[2].task.task_id), "data", claims[2].task.encode()
    )
    batch = [
        ended(claims[0]),
        ended(claims[1]),
        ended(claims[2]),
        ended(claims[3], status="failed", error="no"),
        ended(claims[4], data=None),
        ended(claims[0]),
        ended(claims[5], lease=msgspec.structs.replace(claims[5].lease, owner="pod-9")),
        ended(rescued),
    ]
    taken = await bench.queue.finish(batch, version="v1", result_ttl_ms=LONG_MS)
    assert taken == (True, False, True, True, True, True, False, True)
    assert (await bench.queue.counters())["late_finishes"] == 2
    assert (await bench.queue.snapshot()).in_flight == 1


async def test_the_short_cut_is_open_while_redis_has_no_memory_left(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.client.config_set("maxmemory", "1")
    try:
        assert await finish(bench, ended(claim, result={"text": "x" * 1000}))
    finally:
        await bench.client.config_set("maxmemory", "0")
    assert (await bench.data(claim.task.task_id)).status == "completed"
    assert await bench.queue.counters() == {}
