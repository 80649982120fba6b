"""Handlers that users bring, in real workers."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from integration.worker.harness import EventLog, Records, StartWorker, WorkerProcess, eventually
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[3] / "examples" / "own-handler"


@pytest.fixture
def start_own(start_worker: StartWorker) -> StartWorker:
    """Starts a worker that offers what is in users_handlers.py."""

    def start(**environment: str) -> WorkerProcess:
        return start_worker(
            PYTHONPATH=str(Path(__file__).parent), WORKER_HANDLERS="users_handlers", **environment
        )

    return start


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


async def enqueue(
    queue: TaskQueue, task_type: str, *, max_retries: int = 3, **payload: Any
) -> Task:
    task = Task.new(type=task_type, payload=payload, assigned_to="ops", max_retries=max_retries)
    await queue.enqueue(task)
    return task


async def test_a_users_handler_replaces_the_built_in_one_of_its_type(
    queue: TaskQueue, records: Records, start_own: StartWorker
) -> None:
    worker = await start_own().started()

    ended = await records.finished(await enqueue(queue, "monitor", url="http://nowhere"))

    assert ended.metadata["result"] == {"by": "the user"}
    found = {line["task_type"]: line for line in worker.logged("handler found")}
    assert found["monitor"]["replaces_builtin"]
    assert found["monitor"]["handler"] == "users_handlers.monitor"
    assert not found["sleep"]["replaces_builtin"]


async def test_a_handler_that_cannot_be_found_keeps_the_worker_from_starting() -> None:
    worker = WorkerProcess({"WORKER_HANDLERS": "users_handlers", "WORKER_BUILTINS": "none"})

    assert await worker.exit_code() == 2

    output = "".join(worker.output)
    worker.destroy()
    assert "Traceback" not in output
    assert "- REDIS_URL is missing" in output
    assert "- WORKER_HANDLERS: module 'users_handlers' cannot be imported: No module" in output


async def test_a_handlers_own_concurrency_is_kept_to(
    queue: TaskQueue, records: Records, start_own: StartWorker, journal: Path
) -> None:
    await start_own(OPSAGENT_CONCURRENCY="8").started()
    tasks = [await enqueue(queue, "alone", path=str(journal)) for _ in range(4)]

    ended = await records.ended(*(task.task_id for task in tasks))

    assert {task.status for task in ended} == {"completed"}
    assert lines(journal) == ["started", "ended"] * 4


async def test_sync_handlers_cost_no_lease_however_long_they_block(
    queue: TaskQueue, records: Records, start_own: StartWorker, start_worker: StartWorker
) -> None:
    worker = await start_own(OPSAGENT_LEASE="5s").started()
    # Somebody who would take over at once what the first one loses.
    other = await start_worker(OPSAGENT_LEASE="5s", OPSAGENT_AGENTS="x").started()

    tasks = [
        await enqueue(queue, "sleep", seconds=7.0),
        await enqueue(queue, "hog", seconds=7.0),
    ]
    slept, hogged = await records.ended(*(task.task_id for task in tasks))

    assert slept.metadata["result"] == {"slept": 7.0}
    assert hogged.metadata["result"]["bursts"] > 1
    assert (slept.retry_count, hogged.retry_count) == (0, 0)
    assert await worker.metric("opsagent_worker_leases_lost_total") == 0
    assert await other.metric("opsagent_worker_tasks_rescued_total") == 0
    assert "rescued" not in await queue.counters()


async def test_a_thread_that_takes_too_long_keeps_its_slot_and_lease_until_it_returns(
    queue: TaskQueue, records: Records, start_own: StartWorker
) -> None:
    worker = await start_own(OPSAGENT_LEASE="500ms", OPSAGENT_CONCURRENCY="1").started()
    late = await enqueue(queue, "oversleep", seconds=1.2, max_retries=0)
    waiting = await enqueue(queue, "sleep", seconds=0)

    first, second = await records.ended(late.task_id, waiting.task_id)

    assert (first.status, first.error) == (
        "failed",
        "gave up after 1 attempt: took longer than the 0.2 s a task may take",
    )
    assert "result" not in first.metadata
    waited = datetime.fromisoformat(str(second.started_at)) - datetime.fromisoformat(
        str(first.started_at)
    )
    assert waited.total_seconds() >= 1.2
    assert await worker.metric("opsagent_worker_leases_lost_total") == 0


async def test_a_thread_learns_that_its_task_was_cancelled(
    queue: TaskQueue, records: Records, start_own: StartWorker, journal: Path
) -> None:
    await start_own().started()
    task = await enqueue(queue, "watchful", path=str(journal))
    await eventually(lambda: lines(journal) == ["started"], what="the thread is running")

    await queue.cancel(task.task_id)

    assert (await records.finished(task)).status == "cancelled"
    await eventually(lambda: lines(journal) == ["started", "stopped"], what="the thread ends")


async def test_a_thread_learns_that_its_worker_stops_and_its_task_is_handed_back(
    queue: TaskQueue, records: Records, start_own: StartWorker, journal: Path
) -> None:
    worker = await start_own(OPSAGENT_DRAIN_TIMEOUT="50ms").started()
    task = await enqueue(queue, "watchful", path=str(journal))
    await eventually(lambda: lines(journal) == ["started"], what="the thread is running")

    worker.signal(signal.SIGTERM)

    assert await worker.exit_code() == 0
    assert lines(journal) == ["started", "stopped"]
    assert await records.status(task.task_id) == "pending"
    assert (await records.task(task.task_id)).retry_count == 0


async def test_no_thread_keeps_the_process_and_its_task_is_handed_back_before(
    queue: TaskQueue, records: Records, start_own: StartWorker, journal: Path
) -> None:
    worker = await start_own(OPSAGENT_DRAIN_TIMEOUT="50ms").started()
    tasks = [
        await enqueue(queue, task_type, path=str(journal))
        for task_type in ("deaf", "leaves-a-thread")
    ]
    await eventually(lambda: lines(journal) == ["started"] * 2, what="both are running")

    worker.signal(signal.SIGTERM)

    # 15 s is what a pod's grace period has beyond the drain timeout.
    await eventually(lambda: not worker.running, what="the worker has ended", deadline=15)
    assert await worker.exit_code() == 0
    for task in tasks:
        assert await records.status(task.task_id) == "pending"
        assert (await records.task(task.task_id)).retry_count == 0
    assert (await queue.snapshot()).in_flight == 0


async def test_what_a_thread_logs_and_publishes_names_its_task(
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    start_own: StartWorker,
    journal: Path,
) -> None:
    worker = await start_own().started()
    task = await enqueue(queue, "tell", path=str(journal))
    await records.finished(task)

    (line,) = worker.logged("told")
    assert (line["task_id"], line["task_type"], line["attempt"]) == (task.task_id, "tell", 1)
    assert line["trace_id"] == task.trace_id
    await eventually(
        lambda: events.types(task.task_id)[-2:] == ["health.recovered", "task.completed"],
        what="the event came, before the task's end",
    )


async def test_the_example_runs_locally_as_its_documentation_says(
    redis_url: str, health_url: str
) -> None:
    environment = {"REDIS_URL": redis_url, "PYTHONPATH": str(EXAMPLE)}
    worker = WorkerProcess(
        {
            **environment,
            "WORKER_HANDLERS": "checksum",
            "WORKER_BUILTINS": "none",
            "OPSAGENT_HTTP_PORT": "0",
        }
    )
    try:
        await worker.started()
        enqueueing = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLE / "enqueue.py"),
            "checksum",
            json.dumps({"url": health_url}),
            env={"PATH": os.environ["PATH"], **environment},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await enqueueing.communicate()
    finally:
        worker.destroy()

    record = json.loads(output)
    assert record["status"] == "completed"
    assert record["metadata"]["result"] == {
        "sha256": hashlib.sha256(b"ok").hexdigest(),
        "bytes": 2,
    }
