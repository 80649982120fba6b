"""What the scripts write is read back by the orchestrator's strict reader, byte-faithful around it."""

import json
import re

import msgspec
import pytest

from fixtures.queue_bench import LONG_MS, Bench
from fixtures.strict_reader import StrictTask
from opsagent_queue import Task

pytestmark = pytest.mark.integration

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def awkward(bench: Bench) -> Task:
    """A task full of what Lua's own JSON library would damage."""
    return msgspec.structs.replace(
        bench.task(
            payload={
                "empty_list": [],
                "empty_object": {},
                "nested": [[], {}, [{}]],
                "big": 12345678901234567890,
                "precise": 0.1234567890123456789,
                "tiny": 1e-300,
                "path": "a/b\\c",
                "unicode": "caf\u00e9 \u2028 \U0001f680",
                "trap": '"status": "x"}]',
                "status": "not mine",
                "null": None,
            },
            metadata={"list": [], "status": "not mine either"},
        ),
        child_task_ids=[],
        sla={"target": "5m", "deadline": "2025-10-22T12:05:00+00:00", "alert_threshold": 0.8},
    )


async def test_a_whole_life_changes_only_the_fields_a_worker_owns(bench: Bench) -> None:
    task = awkward(bench)
    await bench.enqueue(task)
    for _ in range(2):
        (claim,) = (await bench.claim()).claims
        await bench.queue.release([claim.lease])
        (claim,) = (await bench.claim()).claims
        await bench.expire(claim.lease)
        await bench.queue.reap()
        (claim,) = (await bench.claim()).claims
        await bench.retry(claim.lease, delay_ms=0, error="later")
    (claim,) = (await bench.claim()).claims
    assert await bench.finish(claim.lease, result={"list": [], "object": {}})
    text = await bench.text(task.task_id)
    for name in ("started_at", "completed_at"):
        assert TIME.fullmatch(json.loads(text)[name])
    expected = msgspec.structs.replace(
        task,
        status="completed",
        started_at=json.loads(text)["started_at"],
        completed_at=json.loads(text)["completed_at"],
        metadata={**task.metadata, "result": {"list": [], "object": {}}},
        retry_count=2,
    )
    assert text == expected.encode()


@pytest.mark.parametrize(
    "end", ["claimed", "retried", "released", "completed", "failed", "poisoned"]
)
async def test_the_orchestrators_reader_accepts_what_each_script_wrote(
    bench: Bench, end: str
) -> None:
    await bench.enqueue(awkward(bench))
    (claim,) = (await bench.claim()).claims
    status = {"claimed": "in_progress", "completed": "completed", "failed": "failed"}
    match end:
        case "retried":
            await bench.retry(claim.lease, delay_ms=LONG_MS, error='say "x"')
        case "released":
            await bench.queue.release([claim.lease])
        case "completed" | "failed":
            await bench.finish(claim.lease, status=end, result={"a": []}, error=None)
        case "poisoned":
            await bench.client.hset(bench.queue.keys.history(claim.task.task_id), "crashes", "2")
            await bench.expire(claim.lease)
            assert (await bench.queue.reap()).dead == 1
            status["poisoned"] = "failed"
    read = StrictTask.model_validate_json(await bench.text(claim.task.task_id))
    assert read.status == status.get(end, "pending")
    assert (read.child_task_ids, read.payload) == ([], claim.task.payload)


async def test_fields_we_do_not_know_stay_and_missing_ones_are_completed(bench: Bench) -> None:
    text = '{"task_id": "old", "type": "monitor", "assigned_to": "ops", "novelty": [1.50]}'
    await bench.client.hset(bench.queue.keys.record("old"), mapping={"data": text})
    await bench.client.zadd(bench.queue.keys.tasks, {"old": 3})
    (claim,) = (await bench.claim()).claims
    await bench.finish(claim.lease)
    after = await bench.text("old")
    assert after.startswith(text.removesuffix("}"))
    assert json.loads(after).keys() == {
        *("task_id", "type", "assigned_to", "novelty", "status", "started_at"),
        *("completed_at", "error", "retry_count"),
    }
