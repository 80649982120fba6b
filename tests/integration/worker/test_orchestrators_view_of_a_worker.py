"""What the orchestrator sees of a real worker: tasks of every type in every ending, and each event once."""

import signal
from collections.abc import AsyncIterator, Mapping

import pytest
from redis.asyncio import Redis

from doubles.loopback import Gate, Response
from doubles.orchestrator import Channels, Orchestrator, Statistics
from doubles.slack import SlackDouble
from doubles.vercel import GIT_SOURCE
from integration.worker.harness import Records, StartWorker, eventually
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration

ALERT = {"alert_type": "disk", "severity": "high", "message": "almost full"}


@pytest.fixture
def orchestrator(client: Redis) -> Orchestrator:
    return Orchestrator(client)


@pytest.fixture
async def channels(client: Redis) -> AsyncIterator[Channels]:
    channels = Channels(client)
    await channels.start()
    yield channels
    await channels.stop()


def task(kind: str, payload: Mapping[str, object]) -> Task:
    return Task.new(
        type=kind, payload=payload, assigned_to="ops", metadata={"tags": [], "big": 2**60}
    )


async def all_told(channels: Channels, *tasks: Task) -> None:
    """Returns once the end of every task was published; events trail the records by a moment."""
    endings = {"task.completed", "task.failed", "task.cancelled"}
    await eventually(
        lambda: all(endings & set(channels.types(one.task_id)) for one in tasks),
        what="the end of every task is published",
    )
    await channels.heard()


async def test_tasks_of_every_type_read_back_and_every_event_comes_once(
    queue: TaskQueue,
    records: Records,
    orchestrator: Orchestrator,
    channels: Channels,
    start_worker: StartWorker,
    health_url: str,
) -> None:
    worker = await start_worker().started()
    good = [
        task("monitor", {"url": health_url}),
        task("monitor", {"url": "http://127.0.0.1:1"}),
        task("alert", ALERT),
        task("deploy", {"project": "web", "gitSource": GIT_SOURCE}),
        task("investigate", {"issue": "web is slow"}),
    ]
    bad = [
        task("monitor", {"url": "ftp://nowhere"}),
        task("alert", {"severity": "high"}),
        task("deploy", {"environment": "moon"}),
        task("investigate", {}),
        task("feature", {}),
    ]
    for one in (*good, *bad):
        await queue.enqueue(one)
    await records.ended(*(one.task_id for one in (*good, *bad)))

    for one in good:
        seen = await orchestrator.read(one.task_id)
        assert (seen.status, seen.error, seen.retry_count) == ("completed", None, 0)
        assert isinstance(seen.metadata.pop("result"), dict)
        assert seen.metadata == one.metadata
        assert seen.started_at is not None
        assert seen.completed_at is not None
        assert seen.created_at <= seen.started_at <= seen.completed_at
    for one in bad:
        seen = await orchestrator.read(one.task_id)
        assert (seen.status, seen.metadata, bool(seen.error)) == ("failed", one.metadata, True)
    assert await orchestrator.statistics() == Statistics(0, 0, {"completed": 5, "failed": 5})
    await all_told(channels, *good, *bad)
    for one in good:
        types = channels.types(one.task_id)
        assert types[:2] == ["task.created", "task.started"]
        assert types[-1] == "task.completed"
        assert types.count("task.started") == types.count("task.completed") == 1
    for one in bad:
        assert channels.types(one.task_id).count("task.failed") == 1
    ours = [event for event in channels.everything if event.event_type != "task.created"]
    assert {event.source_agent for event in ours} == {"ops"}
    traces = {one.task_id: one.trace_id for one in (*good, *bad)}
    assert all(event.trace_id == traces[event.task_id or ""] for event in ours)
    assert worker.running


async def test_retries_show_in_the_record_and_start_each_time(
    queue: TaskQueue,
    records: Records,
    orchestrator: Orchestrator,
    channels: Channels,
    slack: SlackDouble,
    start_worker: StartWorker,
) -> None:
    slack.next_responses = [Response(503, "down"), Response(503, "down")]
    await start_worker().started()
    one = task("alert", ALERT)
    await queue.enqueue(one)
    await records.finished(one)

    seen = await orchestrator.read(one.task_id)
    assert (seen.status, seen.retry_count, seen.error) == ("completed", 2, None)
    await all_told(channels, one)
    types = [kind for kind in channels.types(one.task_id) if kind.startswith("task.")]
    assert types == ["task.created", *["task.started"] * 3, "task.completed"]


async def test_a_patch_of_a_running_task_survives_its_end(
    queue: TaskQueue,
    records: Records,
    orchestrator: Orchestrator,
    channels: Channels,
    gate: Gate,
    held_url: str,
    start_worker: StartWorker,
) -> None:
    await start_worker().started()
    one = task("monitor", {"url": held_url})
    await queue.enqueue(one)
    await eventually(lambda: gate.arrived == 1, what="the task runs")
    assert await orchestrator.statistics() == Statistics(0, 1, {"in_progress": 1})

    await orchestrator.patch(one.task_id, "blocked", metadata={"ticket": "T-1"})
    gate.open()
    await records.finished(one)

    seen = await orchestrator.read(one.task_id)
    assert (seen.status, seen.metadata["ticket"]) == ("completed", "T-1")
    assert seen.metadata["result"]["healthy"] is True
    assert await orchestrator.statistics() == Statistics(0, 0, {"completed": 1})
    await all_told(channels, one)


async def test_a_patch_to_cancelled_stops_the_task_and_stands(
    client: Redis,
    queue: TaskQueue,
    orchestrator: Orchestrator,
    channels: Channels,
    gate: Gate,
    held_url: str,
    start_worker: StartWorker,
) -> None:
    worker = await start_worker(OPSAGENT_LEASE="1s").started()
    one = task("monitor", {"url": held_url})
    await queue.enqueue(one)
    await eventually(lambda: gate.arrived == 1, what="the task runs")

    await orchestrator.patch(one.task_id, "cancelled")
    await all_told(channels, one)

    assert (await orchestrator.read(one.task_id)).status == "cancelled"
    assert await orchestrator.statistics() == Statistics(0, 0, {"cancelled": 1})
    assert channels.types(one.task_id) == ["task.created", "task.started", "task.cancelled"]
    assert await client.zcard(queue.keys.own("leases")) == 0
    assert worker.running


async def test_numbers_stay_right_through_a_crash_and_a_drain(
    queue: TaskQueue,
    records: Records,
    orchestrator: Orchestrator,
    channels: Channels,
    gate: Gate,
    held_url: str,
    start_worker: StartWorker,
) -> None:
    crashing = await start_worker(OPSAGENT_LEASE="500ms").started()
    one = task("monitor", {"url": held_url})
    await queue.enqueue(one)
    await eventually(lambda: gate.arrived == 1, what="the task runs")
    crashing.signal(signal.SIGKILL)
    await crashing.exit_code()
    assert await orchestrator.statistics() == Statistics(0, 1, {"in_progress": 1})

    drained = await start_worker(OPSAGENT_LEASE="60s", OPSAGENT_DRAIN_TIMEOUT="0s").started()
    await eventually(lambda: gate.arrived == 2, what="the task runs again")
    assert await orchestrator.statistics() == Statistics(0, 1, {"in_progress": 1})
    drained.signal(signal.SIGTERM)
    assert await drained.exit_code() == 0
    assert await orchestrator.statistics() == Statistics(1, 0, {"pending": 1})

    gate.open()
    await start_worker().started()
    await records.finished(one)
    seen = await orchestrator.read(one.task_id)
    assert (seen.status, seen.retry_count) == ("completed", 0)
    assert await orchestrator.statistics() == Statistics(0, 0, {"completed": 1})
    await all_told(channels, one)
    assert channels.types(one.task_id).count("task.completed") == 1
