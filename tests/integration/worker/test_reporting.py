"""The ends of tasks reach the queue together, in order, once, and however long it takes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from fixtures.redis import RedisServer
from integration.worker.harness import EventLog, Records, eventually
from integration.worker.in_process import SLOTS, Bench
from opsagent_queue import Claim, Event, EventType, Finished, Task, TaskQueue
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.outcome import Completed, Failed, HandBack, Retry
from opsagent_worker.reporter import Reporter
from opsagent_worker.running import RunningTask

pytestmark = pytest.mark.integration

MANY = 60


async def nothing(_context: TaskContext) -> Mapping[str, Any]:
    return {}


async def claim(bench: Bench, number: int) -> list[RunningTask]:
    """Tasks that are claimed and not started, in the order in which they were enqueued."""
    for _ in range(number):
        await bench.enqueue()
    result = await bench.queue.claim(
        owner="pod-1", version="v1", count=number, lease_ms=60_000, token="of-the-test"
    )
    assert len(result.claims) == number
    return [running(claim) for claim in result.claims]


def running(claim: Claim) -> RunningTask:
    return RunningTask(claim, deadline=float("inf"), handler=None, label="monitor")


@contextlib.asynccontextmanager
async def reporting(reporter: Reporter) -> AsyncIterator[None]:
    job = asyncio.create_task(reporter.run())
    yield
    job.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await job


async def all_reported(reporter: Reporter) -> None:
    await eventually(lambda: reporter.unreported == 0, what="every outcome is reported")


async def scripts_run(client: Redis) -> int:
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_outcomes_that_gather_share_their_calls(bench: Bench, client: Redis) -> None:
    reporter = bench.parts(nothing).reporter
    tasks = await claim(bench, MANY)
    before = await scripts_run(client)

    for task in tasks:
        reporter.report(task, Completed({}), seconds=0.1)
    async with reporting(reporter):
        await all_reported(reporter)

    assert await scripts_run(client) - before <= 2
    assert (await bench.queue.snapshot()).in_flight == 0


async def test_a_task_is_told_to_have_started_before_it_is_told_to_have_ended(
    bench: Bench, events: EventLog
) -> None:
    tasks = [await bench.enqueue() for _ in range(MANY)]

    async with bench.working(nothing):
        await eventually(
            lambda: all("task.completed" in events.types(task.task_id) for task in tasks),
            what="every end is published",
        )

    expected = ["task.created", "task.started", "task.completed"]
    assert [events.types(task.task_id) for task in tasks] == [expected] * MANY


async def test_what_ends_while_redis_is_away_is_reported_once_when_it_is_back(
    redis_server: RedisServer, bench: Bench, records: Records
) -> None:
    parts = bench.parts(nothing)
    reporter = parts.reporter
    tasks = await claim(bench, 4 * SLOTS)
    redis_server.stop()

    async with reporting(reporter):
        for number, task in enumerate(tasks):
            parts.keeper.add(task)
            match number % 4:
                case 0:
                    reporter.report(task, Completed({"number": number}), seconds=0.1)
                case 1:
                    reporter.report(task, Failed("broken", "PermanentError"), seconds=0.1)
                case 2:
                    reporter.report(task, Retry("later", "retryable", 60, "OSError"), seconds=0.1)
                case _:
                    reporter.report(task, HandBack(), seconds=0.1)
        await eventually(
            lambda: (
                bench.sample("opsagent_worker_redis_errors_total", operation="report")
                not in {None, 0}
            ),
            what="it has tried",
        )
        assert reporter.unreported == bench.sample("opsagent_worker_tasks_unreported") == len(tasks)
        redis_server.start()
        await all_reported(reporter)

    after = await bench.queue.snapshot()
    assert (after.in_flight, after.dead, after.delayed, after.pending) == (0, *[SLOTS] * 3)
    completed = [await records.task(task.lease.task_id) for task in tasks[::4]]
    assert [task.status for task in completed] == ["completed"] * SLOTS
    assert bench.sample("opsagent_worker_reports_late_total") == 0
    assert bench.sample("opsagent_worker_tasks_released_total") == SLOTS


async def test_one_outcome_that_redis_refuses_holds_up_no_other(
    bench: Bench, client: Redis, records: Records
) -> None:
    reporter = bench.parts(nothing).reporter
    tasks = await claim(bench, 8)
    broken = tasks[3].lease.task_id
    key = bench.queue.keys.record(broken)
    record: dict[Any, Any] = await client.hgetall(key)
    await client.delete(key)
    await client.set(key, "no hash")

    async with reporting(reporter):
        for task in tasks:
            reporter.report(task, Completed({}), seconds=0.1)
        await eventually(lambda: reporter.unreported == 1, what="all others are reported")
        others = [task.lease.task_id for task in tasks if task.lease.task_id != broken]
        assert {task.status for task in await records.ended(*others)} == {"completed"}

        await client.delete(key)
        await client.hset(key, mapping=record)
        await all_reported(reporter)

    assert (await records.task(broken)).status == "completed"


async def test_one_outcome_that_cannot_even_be_sent_holds_up_no_other(
    bench: Bench, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = bench.parts(nothing).reporter
    tasks = await claim(bench, 4)
    odd, *others = [task.lease.task_id for task in tasks]
    finish = bench.queue.finish

    async def fail(finished: Sequence[Finished], **options: Any) -> tuple[bool, ...]:
        if any(one.lease.task_id == odd for one in finished):
            raise ValueError("not to be encoded")
        return await finish(finished, **options)

    monkeypatch.setattr(bench.queue, "finish", fail)
    async with reporting(reporter):
        reporter.post(Event.new(EventType.HEALTH_DEGRADED, payload={"not JSON": object()}))
        for task in tasks:
            reporter.report(task, Completed({}), seconds=0.1)
        await eventually(lambda: reporter.unreported == 1, what="all others are reported")

    assert {task.status for task in await records.ended(*others)} == {"completed"}
    assert await records.status(odd) == "in_progress"


async def test_a_late_outcome_is_counted_and_changes_nothing(
    bench: Bench, client: Redis, records: Records
) -> None:
    reporter = bench.parts(nothing).reporter
    (task,) = await claim(bench, 1)
    await client.zadd(bench.queue.keys.own("leases"), {task.lease.task_id: 0}, xx=True)
    await bench.queue.reap()

    async with reporting(reporter):
        reporter.report(task, Completed({}), seconds=0.1)
        await all_reported(reporter)

    assert bench.sample("opsagent_worker_reports_late_total") == 1
    assert await records.status(task.lease.task_id) == "pending"


async def test_no_more_leases_are_held_than_outcomes_may_wait(
    bench: Bench, queue: TaskQueue
) -> None:
    parts = bench.parts(nothing)
    bound = 5 * SLOTS
    tasks = [await bench.enqueue() for _ in range(2 * bound)]

    # Nobody reports: outcomes pile up until the claimer has to stop.
    claiming = asyncio.create_task(parts.consumer.run())
    await eventually(lambda: parts.consumer.busy == bound, what="as many are held as may be")
    for _ in range(20):
        parts.consumer.wake()
        await asyncio.sleep(0)
    assert (await queue.snapshot()).in_flight == bound

    async with reporting(parts.reporter):
        await eventually(
            lambda: (
                bench.sample(
                    "opsagent_worker_tasks_finished_total",
                    type="monitor",
                    outcome="completed",
                    error_class="",
                )
                == len(tasks)
            ),
            what="the rest is done as soon as there is room",
        )
        parts.consumer.stop()
        await claiming


async def test_leases_of_unreported_outcomes_are_kept(
    bench: Bench, client: Redis, queue: TaskQueue
) -> None:
    parts = bench.parts(nothing)
    (task,) = await claim(bench, 1)
    parts.keeper.add(task)
    parts.reporter.report(task, Completed({}), seconds=0.1)
    leases = queue.keys.own("leases")
    granted = await client.zscore(leases, task.lease.task_id)

    keeping = asyncio.create_task(parts.keeper.run())

    async def renewed() -> bool:
        return await client.zscore(leases, task.lease.task_id) != granted

    await eventually(renewed, what="the lease is renewed")
    keeping.cancel()


async def test_events_beyond_the_bound_are_dropped_and_counted(bench: Bench) -> None:
    reporter = bench.parts(nothing).reporter
    task = Task.new(type="monitor", payload={})

    for _ in range(1200):
        reporter.post(Event.new("deploy.started", task=task))

    dropped = bench.sample("opsagent_worker_events_dropped_total", event_type="deploy.started")
    assert dropped == 200
