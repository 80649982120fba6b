"""What a worker makes of handlers that misbehave. In this process, because the handlers are the tests' own."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from integration.worker.harness import TOKEN, Records, eventually
from integration.worker.in_process import SLOTS, Bench
from opsagent_queue import Finished
from opsagent_worker import drain
from opsagent_worker.handlers.context import TaskContext

pytestmark = pytest.mark.integration


async def test_an_unforeseen_error_is_tried_again_and_reported_once(
    bench: Bench, records: Records
) -> None:
    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        raise KeyError(f"no such thing, says {TOKEN}")

    async with bench.working(handler):
        ended = await records.finished(await bench.enqueue(max_retries=2))

    assert ended.retry_count == 2
    assert ended.error == "gave up after 3 attempts: KeyError: 'no such thing, says [redacted]'"
    assert [type(error) for error in bench.errors.failures] == [KeyError]
    assert bench.errors.faults == []


@pytest.mark.parametrize("result", [{"moment": object()}, {"ratio": float("nan")}])
async def test_a_result_that_is_not_json_fails_the_task(
    bench: Bench, records: Records, result: dict[str, Any]
) -> None:
    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        return result

    async with bench.working(handler):
        ended = await records.finished(await bench.enqueue())

    assert (ended.status, ended.retry_count) == ("failed", 0)
    assert str(ended.error).startswith("the handler's result is not JSON")


async def test_a_secret_in_a_result_is_redacted(bench: Bench, records: Records) -> None:
    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        return {"seen": [f"Bearer {TOKEN}"]}

    async with bench.working(handler):
        ended = await records.finished(await bench.enqueue())

    assert ended.metadata["result"] == {"seen": ["Bearer [redacted]"]}


async def test_a_task_that_was_given_to_somebody_else_is_stopped_and_not_reported(
    bench: Bench, client: Redis, records: Records
) -> None:
    running: list[str] = []
    stopped: list[str] = []
    gate = asyncio.Event()

    async def handler(context: TaskContext) -> Mapping[str, Any]:
        running.append(context.task.task_id)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            stopped.append(context.task.task_id)
            raise
        return {}

    async with bench.working(handler):
        tasks = [await bench.enqueue() for _ in range(SLOTS)]
        await eventually(lambda: len(running) == SLOTS, what="every slot is taken")
        lost = tasks[0].task_id
        # As if this worker had been silent for longer than its lease.
        await client.zadd(bench.queue.keys.own("leases"), {lost: 0}, xx=True)
        await bench.queue.reap()
        (claim,) = (
            await bench.queue.claim(
                owner="pod-2", version="v2", count=1, lease_ms=60_000, token="of-pod-2"
            )
        ).claims
        await eventually(lambda: stopped == [lost], what="the lost task is stopped")
        by_other = Finished(
            lease=claim.lease, status="completed", result={"by": "pod-2"}, seconds=0
        )
        taken = await bench.queue.finish([by_other], version="v2", result_ttl_ms=60_000)
        gate.set()
        ended = await records.ended(*(task.task_id for task in tasks))

    assert taken == (True,)
    assert ended[0].metadata["result"] == {"by": "pod-2"}
    assert {task.status for task in ended} == {"completed"}
    assert bench.sample("opsagent_worker_leases_lost_total") == 1


async def test_a_worker_that_claims_its_own_lost_task_again_stops_the_first_run(
    bench: Bench, client: Redis, records: Records
) -> None:
    attempts: list[str] = []

    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        attempts.append("started")
        if len(attempts) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                attempts.append("stopped")
                raise
        return {}

    async with bench.working(handler):
        task = await bench.enqueue()
        await eventually(lambda: attempts == ["started"], what="the task is running")
        await client.zadd(bench.queue.keys.own("leases"), {task.task_id: 0}, xx=True)
        await bench.queue.reap()
        ended = await records.finished(task)
        await eventually(lambda: len(attempts) == 3, what="the first run is stopped")

    assert (ended.status, ended.retry_count) == ("completed", 0)
    assert (await bench.queue.snapshot()).in_flight == 0


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_CANCEL_SECONDS", 0.05)
    monkeypatch.setattr(drain, "_HAND_BACK_SECONDS", 0.2)
    running, released = asyncio.Event(), asyncio.Event()

    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        running.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return {}

    async with bench.working(handler) as parts:
        task = await bench.enqueue()
        await running.wait()
        bench.signals.received()  # the second one, at the end of the block, means at once

    after = await bench.queue.snapshot()
    assert (after.pending, after.in_flight) == (1, 0)
    assert (await bench.queue.counters()).get("rescued", 0) == 0
    released.set()
    await parts.consumer.idle()
    assert task.retry_count == 0


async def test_as_many_tasks_run_at_once_as_there_are_slots(bench: Bench, records: Records) -> None:
    at_once, most = 0, 0
    gate = asyncio.Event()

    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        return {}

    async with bench.working(handler):
        tasks = [await bench.enqueue() for _ in range(SLOTS + 6)]
        await eventually(lambda: at_once == SLOTS, what="every slot is taken")
        assert (await bench.queue.snapshot()).pending == 6
        gate.set()
        ended = await records.ended(*(task.task_id for task in tasks))

    assert most == SLOTS
    assert {task.status for task in ended} == {"completed"}
