"""What interrupts a handler, and what its type may ask for."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from integration.worker.harness import Records, eventually
from integration.worker.in_process import SLOTS, Bench
from opsagent_queue import TaskQueue
from opsagent_worker.handlers.context import TaskContext, TaskHandler

pytestmark = pytest.mark.integration


class Waiting:
    """A handler that waits for its gate, and notes who runs and who was stopped."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running: list[str] = []
        self.stopped: list[str] = []
        self.at_once: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        task = context.task
        self.running.append(task.task_id)
        self.at_once[task.type] += 1
        self.most[task.type] = max(self.most[task.type], self.at_once[task.type])
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(task.task_id)
            raise
        finally:
            self.at_once[task.type] -= 1
        return {}


async def test_cancelling_a_task_stops_its_handler_and_no_other(
    bench: Bench, records: Records
) -> None:
    handler = Waiting()

    async with bench.working(handler):
        unlucky, lucky = await bench.enqueue(), await bench.enqueue()
        await eventually(lambda: len(handler.running) == 2, what="both run")
        assert await bench.queue.cancel(unlucky.task_id) == "cancelling"
        await eventually(lambda: bool(handler.stopped), what="the handler is stopped")
        ended = await records.finished(unlucky)
        handler.gate.set()
        other = await records.finished(lucky)

    assert handler.stopped == [unlucky.task_id]
    assert (ended.status, other.status) == ("cancelled", "completed")
    cancelled = bench.sample(
        "opsagent_worker_tasks_finished_total",
        type="monitor",
        outcome="cancelled",
        error_class="",
    )
    assert cancelled == 1


async def test_a_cancellation_nobody_was_told_of_is_found_by_the_next_renewal(
    bench: Bench, queue: TaskQueue, records: Records
) -> None:
    handler = Waiting()

    async with bench.working(handler):
        task = await bench.enqueue()
        await eventually(lambda: bool(handler.running), what="it runs")
        await records.rewrite(task.task_id, status="cancelled")
        await eventually(lambda: bool(handler.stopped), what="the handler is stopped")
        ended = await records.finished(task)

    assert ended.status == "cancelled"
    assert (await queue.snapshot()).in_flight == 0


async def test_a_handler_that_says_in_its_own_way_that_it_was_cancelled_is_understood(
    bench: Bench, records: Records
) -> None:
    running = asyncio.Event()

    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise RuntimeError("I was interrupted") from error
        return {}

    async with bench.working(handler):
        task = await bench.enqueue()
        await running.wait()
        await bench.queue.cancel(task.task_id)
        ended = await records.finished(task)

    assert (ended.status, ended.retry_count) == ("cancelled", 0)


async def cancel_itself(_context: TaskContext) -> Mapping[str, Any]:
    other = asyncio.create_task(asyncio.sleep(60))
    other.cancel()
    await other
    return {}


async def exit_itself(_context: TaskContext) -> Mapping[str, Any]:
    raise SystemExit(3)


@pytest.mark.parametrize("handler", [cancel_itself, exit_itself])
async def test_a_handler_can_end_neither_the_worker_nor_its_own_reporting(
    bench: Bench, records: Records, handler: Any
) -> None:
    async with bench.working(handler):
        ended = await records.finished(await bench.enqueue(max_retries=1))

    assert (ended.status, ended.retry_count) == ("failed", 1)
    assert "handler raised" in str(ended.error)


async def test_a_types_limit_is_kept_and_starves_no_other_type(
    bench: Bench, records: Records
) -> None:
    limited = Waiting()

    async def quick(_context: TaskContext) -> Mapping[str, Any]:
        return {}

    handlers = {
        "deploy": TaskHandler(type="deploy", run=limited, concurrency=1),
        "monitor": TaskHandler(type="monitor", run=quick),
    }
    # More of the limited type than there are slots, all of them more urgent than the others.
    urgent = [await bench.enqueue(type="deploy", priority="P0") for _ in range(2 * SLOTS)]
    others = [await bench.enqueue(priority="P3") for _ in range(2 * SLOTS)]

    async with bench.working(handlers):
        done = await records.ended(*(task.task_id for task in others))
        assert len(limited.running) == 1
        limited.gate.set()
        done += await records.ended(*(task.task_id for task in urgent))

    assert {(task.status, task.retry_count) for task in done} == {("completed", 0)}
    assert limited.most["deploy"] == 1


async def test_a_timeout_of_its_own_ends_a_type_earlier(bench: Bench, records: Records) -> None:
    handlers = {"monitor": TaskHandler(type="monitor", run=Waiting(), timeout=0.05)}

    async with bench.working(handlers):
        ended = await records.finished(await bench.enqueue(max_retries=0))

    assert ended.error == "gave up after 1 attempt: took longer than the 0.05 s a task may take"
