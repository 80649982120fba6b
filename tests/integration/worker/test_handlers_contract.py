"""What a worker makes of handlers that misbehave. In this process, because the handlers are the tests' own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from integration.worker.harness import TEAM, TOKEN, WORKER, Records, eventually
from opsagent_queue import Finished, Task, TaskQueue
from opsagent_worker import drain
from opsagent_worker.drain import StopSignals
from opsagent_worker.handlers.context import Run, TaskContext, TaskHandler
from opsagent_worker.metrics import Metrics
from opsagent_worker.outcome import Failed
from opsagent_worker.probes import Health
from opsagent_worker.reporter import Report
from opsagent_worker.settings import Settings
from opsagent_worker.worker import WorkerParts

pytestmark = pytest.mark.integration

SLOTS = 4


class Errors:
    """The errors behind final failures, and the worker's own."""

    def __init__(self) -> None:
        self.failures: list[Exception | None] = []
        self.faults: list[Exception] = []
        self.fault = self.faults.append

    def reported(self, report: Report, taken: bool) -> None:
        if taken and isinstance(report.outcome, Failed):
            self.failures.append(report.outcome.cause)

    def poisoned(self, tasks: int) -> None:
        self.faults.append(RuntimeError(f"{tasks} poisoned"))


class Bench:
    """A worker without its process, whose only handler runs tasks of type `monitor`."""

    def __init__(self, queue: TaskQueue, settings: Settings) -> None:
        self.queue = queue
        self.metrics = Metrics()
        self.signals = StopSignals()
        self.errors = Errors()
        self._settings = settings

    @asynccontextmanager
    async def working(self, run: Run) -> AsyncIterator[WorkerParts]:
        parts = WorkerParts(
            settings=self._settings,
            queue=self.queue,
            renewals=self.queue,
            handlers={"monitor": TaskHandler(type="monitor", run=run)},
            metrics=self.metrics,
            health=Health(claim_limit=60),
            signals=self.signals,
            error_reports=self.errors,
        )
        work = asyncio.create_task(parts.work())
        yield parts
        self.signals.received()
        await work

    def sample(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)

    async def enqueue(self, **fields: Any) -> Task:
        task = Task.new(type="monitor", payload={}, assigned_to="ops", **fields)
        await self.queue.enqueue(task)
        return task


@pytest.fixture
def bench(queue: TaskQueue, redis_url: str) -> Bench:
    return Bench(
        queue,
        Settings.load(
            {
                "REDIS_URL": redis_url,
                "VERCEL_TOKEN": TOKEN,
                "VERCEL_TEAM_ID": TEAM,
                "OPSAGENT_WORKER": WORKER,
                "OPSAGENT_POD_NAME": "pod-1",
                "OPSAGENT_CONCURRENCY": str(SLOTS),
                "OPSAGENT_LEASE": "600ms",
                "OPSAGENT_DRAIN_TIMEOUT": "50ms",
                "OPSAGENT_RETRY_BACKOFF": "1ms",
                "OPSAGENT_RETRY_MAX_BACKOFF": "1ms",
            }
        ),
    )


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
