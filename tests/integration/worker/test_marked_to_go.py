"""A pod with a drain mark: it finishes what it runs, takes nothing new, and works on when the mark is removed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from doubles.loopback import Gate
from integration.worker.harness import WORKER, Records, StartWorker, eventually, monitor
from integration.worker.in_process import SLOTS, Bench
from opsagent_queue import ClaimResult, QueueUnavailableError, TaskQueue
from opsagent_worker.handlers.context import TaskContext

pytestmark = pytest.mark.integration

MARKED = "marked to go: no task is claimed until the mark is removed"
ANNOUNCED = 50


class Asked(TaskQueue):
    """A queue that counts how often it is asked for tasks, and can lose its answer to one claim."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client, worker=WORKER)
        self.claims = 0
        self.mark_and_lose_next = False

    async def claim(self, **arguments: Any) -> ClaimResult:
        self.claims += 1
        result = await super().claim(**arguments)
        if self.mark_and_lose_next and result.claims:
            self.mark_and_lose_next = False
            await self.set_drain_marks([arguments["owner"]])
            raise QueueUnavailableError("the answer was lost")
        return result


async def test_a_marked_worker_finishes_what_it_runs_and_takes_nothing_until_the_mark_is_gone(
    queue: TaskQueue,
    records: Records,
    held_url: str,
    gate: Gate,
    start_worker: StartWorker,
) -> None:
    # It never looks by itself: whatever it does is due to a message.
    # Nor does it lose what it runs, should it be slow.
    settings = {"WORKER_POLL_INTERVAL": "5m", "OPSAGENT_LEASE": "60s"}
    worker = await start_worker(OPSAGENT_CONCURRENCY="2", **settings).started()
    running, waiting = monitor(held_url), monitor(held_url)
    await queue.enqueue(running)
    await eventually(lambda: gate.arrived == 1, what="the task is running")

    await queue.set_drain_marks(["pod-1"])
    await queue.enqueue(waiting)
    await eventually(lambda: bool(worker.logged(MARKED)), what="the worker knows of its mark")
    assert await worker.metric("opsagent_worker_draining") == 1
    assert (await worker.get("/readyz"))[0] == 200
    assert (await worker.get("/livez"))[0] == 200

    async def says_so() -> bool:
        (heartbeat,) = (await queue.snapshot()).workers.values()
        return heartbeat.draining and heartbeat.busy == 1

    await eventually(says_so, what="the heartbeat says draining")
    gate.open()
    assert (await records.finished(running)).status == "completed"
    await eventually(lambda: _holds_nothing(queue), what="nothing is held")
    assert await records.status(waiting.task_id) == "pending"

    await queue.set_drain_marks([])
    assert (await records.finished(waiting)).status == "completed"
    assert await worker.metric("opsagent_worker_draining") == 0
    assert len(worker.logged(MARKED)) == 1


async def test_another_worker_does_what_a_marked_one_does_not_take(
    queue: TaskQueue, records: Records, held_url: str, gate: Gate, start_worker: StartWorker
) -> None:
    workers = [start_worker(OPSAGENT_CONCURRENCY="2") for _ in range(2)]
    for worker in workers:
        await worker.started()
    await queue.set_drain_marks(["pod-1"])
    tasks = [monitor(held_url) for _ in range(4)]
    for task in tasks:
        await queue.enqueue(task)
    await eventually(lambda: gate.arrived == 2, what="two tasks are running")
    assert (await queue.snapshot()).busy == {"pod-2": 2}

    await queue.set_drain_marks([])
    await eventually(lambda: gate.arrived == 4, what="all tasks are running")
    assert (await queue.snapshot()).busy == {"pod-1": 2, "pod-2": 2}
    gate.open()
    await records.ended(*(task.task_id for task in tasks))


async def test_tasks_whose_claim_was_answered_only_after_the_mark_are_handed_back_at_once(
    bench: Bench, client: Redis, records: Records
) -> None:
    """They must not wait behind what a marked pod still runs."""
    started: list[str] = []
    gate = asyncio.Event()

    async def handler(context: TaskContext) -> Mapping[str, Any]:
        started.append(context.task.task_id)
        await gate.wait()
        return {}

    bench.queue = asked = Asked(client)
    async with bench.working(handler):
        long = await bench.enqueue()
        await eventually(lambda: started == [long.task_id], what="a long task runs")
        asked.mark_and_lose_next = True
        others = [await bench.enqueue() for _ in range(SLOTS - 1)]
        await eventually(lambda: _holds(asked, {"pod-1": 1}), what="only the long task is held")
        assert (await asked.snapshot()).pending == len(others)
        assert started == [long.task_id]
        assert not asked.mark_and_lose_next
        await asked.set_drain_marks([])
        gate.set()
        done = await records.ended(long.task_id, *(task.task_id for task in others))

    assert {(task.status, task.retry_count) for task in done} == {("completed", 0)}


async def test_new_tasks_do_not_make_a_marked_worker_ask_again_and_again(
    bench: Bench, client: Redis, records: Records
) -> None:
    async def handler(_context: TaskContext) -> Mapping[str, Any]:
        return {}

    bench.queue = asked = Asked(client)
    async with bench.working(handler) as parts:
        await asked.set_drain_marks(["pod-1"])
        first = await bench.enqueue()
        await eventually(lambda: parts.consumer.marked, what="the worker knows of its mark")
        before = asked.claims
        tasks = [first, *[await bench.enqueue() for _ in range(ANNOUNCED)]]
        # Whatever it has heard of by then: this makes it ask.
        await asked.set_paused(True)
        await asked.set_paused(False)
        await eventually(lambda: asked.claims > before, what="the worker asks again")
        # Once for that, and at each of its own looks.
        assert asked.claims - before < ANNOUNCED / 10
        await asked.set_drain_marks([])
        await records.ended(*(task.task_id for task in tasks))


async def _holds(queue: TaskQueue, held: Mapping[str, int]) -> bool:
    return (await queue.snapshot()).busy == held


async def _holds_nothing(queue: TaskQueue) -> bool:
    return await _holds(queue, {})
