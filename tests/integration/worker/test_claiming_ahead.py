"""Tasks that end at once are followed by others without a pause, and what was claimed for them is never stuck."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from integration.worker.harness import Records, eventually
from integration.worker.in_process import SLOTS, Bench
from opsagent_worker.handlers.context import TaskContext

pytestmark = pytest.mark.integration


class Turning:
    """A handler that ends at once, except for tasks that ask to be held at the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.at_once = self.most = self.held = 0

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if context.task.payload.get("hold"):
            self.held += 1
            await self.gate.wait()
        self.at_once -= 1
        return {}


async def _enqueue(bench: Bench, count: int, **payload: Any) -> list[str]:
    return [(await bench.enqueue(payload=payload)).task_id for _ in range(count)]


async def test_long_tasks_after_many_short_ones_never_take_more_than_the_slots(
    bench: Bench, records: Records
) -> None:
    handler = Turning()
    short = await _enqueue(bench, 20 * SLOTS)
    long = await _enqueue(bench, 3 * SLOTS, hold=True)

    async with bench.working(handler):
        await records.ended(*short)
        await eventually(lambda: handler.held == SLOTS, what="every slot holds a long task")
        # What was claimed too early has been handed back: nobody else would have to wait for it.
        await eventually(lambda: _in_flight(bench, SLOTS), what="only what runs is under a lease")
        handler.gate.set()
        done = await records.ended(*short, *long)

    assert handler.most == SLOTS
    assert {(task.status, task.retry_count) for task in done} == {("completed", 0)}
    assert bench.sample("opsagent_worker_leases_lost_total") == 0


async def test_a_worker_told_to_stop_between_short_tasks_leaves_the_others_as_they_were(
    bench: Bench,
) -> None:
    stop_after = 10 * SLOTS
    seen = 0

    async def stopping(_context: TaskContext) -> Mapping[str, Any]:
        nonlocal seen
        seen += 1
        if seen == stop_after:
            bench.signals.received()
        return {}

    await _enqueue(bench, 4 * stop_after)

    await bench.parts(stopping).work()

    snapshot = await bench.queue.snapshot()
    assert (snapshot.in_flight, snapshot.delayed, snapshot.dead) == (0, 0, 0)
    assert snapshot.pending == 4 * stop_after - seen
    assert seen < 4 * stop_after


async def _in_flight(bench: Bench, number: int) -> bool:
    return (await bench.queue.snapshot()).in_flight == number
