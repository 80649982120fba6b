"""What an async handler costs that blocks the event loop: nothing up to two thirds of a lease, then all leases, never a task."""

from pathlib import Path

import pytest

from integration.worker.harness import Door, Records, StartWorker, eventually
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration


async def enqueue(queue: TaskQueue, task_type: str, **payload: object) -> Task:
    task = Task.new(type=task_type, payload=payload, assigned_to="ops")
    await queue.enqueue(task)
    return task


@pytest.fixture
def begun(tmp_path: Path) -> Door:
    return Door(tmp_path / "begun")


async def test_a_short_block_costs_no_lease_and_is_shown(
    queue: TaskQueue, records: Records, door: Door, begun: Door, start_awkward: StartWorker
) -> None:
    worker = await start_awkward(OPSAGENT_LEASE="6s").started()
    neighbour = await enqueue(queue, "wait", path=str(door.path))
    blocking = await enqueue(queue, "block", path=str(begun.path), seconds=2)

    ended = await records.finished(blocking)
    door.open()
    unharmed = await records.finished(neighbour)

    assert [(task.status, task.retry_count) for task in (ended, unharmed)] == [("completed", 0)] * 2
    assert await worker.metric("opsagent_worker_leases_lost_total") == 0
    (line,) = worker.logged("the event loop is blocked")
    assert line["blocked_by"] == blocking.task_id
    assert "awkward_handlers.py" in line["stack"]
    assert "time.sleep(payload.seconds)" in line["stack"]
    (line,) = worker.logged("the event loop was blocked")
    assert line["seconds"] > 1
    metrics = await worker.metrics()
    shorter = metrics['opsagent_worker_event_loop_lag_seconds_bucket{le="1.0"}']
    assert metrics["opsagent_worker_event_loop_lag_seconds_count"] > shorter


async def test_a_block_beyond_the_lease_gives_the_tasks_to_others_and_its_reports_are_refused(
    queue: TaskQueue,
    records: Records,
    door: Door,
    begun: Door,
    tmp_path: Path,
    start_awkward: StartWorker,
) -> None:
    blocked = await start_awkward(OPSAGENT_LEASE="2s").started()
    neighbour = await enqueue(queue, "wait", path=str(door.path))

    async def running() -> bool:
        return (await queue.snapshot()).in_flight == 1

    await eventually(running, what="the neighbour runs")
    end = Door(tmp_path / "end")
    blocking = await enqueue(queue, "hang", path=str(end.path), begun=str(begun.path))
    await eventually(begun.path.exists, what="the loop is blocked")
    rescuer = await start_awkward(OPSAGENT_LEASE="60s").started()

    ended = await records.finished(blocking)
    end.open()
    await eventually(lambda: bool(blocked.logged("the event loop was blocked")), what="it is over")

    await blocked.counted("opsagent_worker_leases_lost_total")  # the neighbour's
    await blocked.counted("opsagent_worker_reports_late_total")
    door.open()
    rescued = await records.finished(neighbour)
    assert [(task.status, task.retry_count) for task in (ended, rescued)] == [("completed", 0)] * 2
    completed = 'opsagent_worker_tasks_finished_total{error_class="",outcome="completed",type="%s"}'
    await rescuer.counted(completed % "wait")
    await rescuer.counted(completed % "hang")
