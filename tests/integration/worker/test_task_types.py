"""A real worker runs every type of task it has a handler for, against doubles of what lies outside."""

import pytest

from doubles.vercel import GIT_SOURCE, VercelDouble
from integration.worker.harness import EventLog, Records, StartWorker, eventually
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration


def ops_task(kind: str, payload: dict[str, object], *, assigned_to: str = "ops") -> Task:
    return Task.new(type=kind, payload=payload, assigned_to=assigned_to, source="user")


async def test_tasks_of_either_agent_name_finish_and_foreign_ones_stay_untouched(
    queue: TaskQueue, records: Records, start_worker: StartWorker, health_url: str
) -> None:
    foreign = [
        Task.new(type="faq", payload={}, assigned_to="faq", priority="P0"),
        Task.new(type="bugfix", payload={}, assigned_to="dev", priority="P0"),
        Task.new(type="monitor", payload={"url": health_url}, priority="P0"),
    ]
    ours = [
        ops_task("monitor", {"url": health_url}, assigned_to=name) for name in ("ops", "ops_agent")
    ]
    for task in (*foreign, *ours):
        await queue.enqueue(task)
    await start_worker().started()

    ended = await records.ended(*(task.task_id for task in ours))

    assert [task.status for task in ended] == ["completed", "completed"]
    assert [await records.task(task.task_id) for task in foreign] == foreign
    assert (await queue.snapshot()).foreign == len(foreign)


async def test_a_monitor_task_reports_what_it_saw(
    records: Records, events: EventLog, start_worker: StartWorker, health_url: str
) -> None:
    await start_worker(MONITOR_SERVICE_URLS=f"web={health_url}").started()
    task = ops_task("monitor", {"service": "web"})

    ended = await records.run(task)

    result = ended.metadata["result"]
    assert result["healthy"] is True
    assert result["status"] == "healthy"
    assert result["target"] == health_url
    assert result["checks"][0]["http_status"] == 200
    assert result["latency_ms"] > 0
    assert ended.error is None
    await eventually(
        lambda: events.types(task.task_id) == ["task.created", "task.started", "task.completed"],
        what="each step of the task is published once",
    )
    started = await events.published("task.started", task_id=task.task_id)
    assert started.source_agent == "ops"
    assert started.trace_id == task.trace_id
    assert started.payload == {
        "task_type": "monitor",
        "attempt": 1,
        "worker": "pod-1",
        "version": "v1.2.3",
    }
    assert set(events.by_type_channel) == {"task.created", "task.started", "task.completed"}


async def test_a_deploy_task_follows_its_deployment_until_it_is_ready(
    records: Records, events: EventLog, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    await start_worker().started()
    task = ops_task(
        "deploy", {"project": "web", "environment": "production", "gitSource": GIT_SOURCE}
    )

    ended = await records.run(task)

    result = ended.metadata["result"]
    assert ended.status == "completed"
    assert result["state"] == "READY"
    assert result["url"].startswith("https://web-")
    (created,) = vercel.created
    assert created["target"] == "production"
    assert created["gitSource"] == GIT_SOURCE
    assert created["meta"] == {"opsagentTask": task.task_id}
    await eventually(
        lambda: events.types(task.task_id)[-1:] == ["task.completed"], what="the end is published"
    )
    assert events.types(task.task_id)[2:] == [
        "deploy.started",
        "deploy.succeeded",
        "task.completed",
    ]


async def test_a_deploy_task_without_a_source_repeats_the_latest_good_deployment(
    records: Records, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    latest = vercel.add_deployment(project="web", target=None)
    vercel.add_deployment(project="web", target="production")
    vercel.add_deployment(project="web", target=None, state="ERROR")
    await start_worker().started()
    task = ops_task("deploy", {"service": "web", "environment": "preview"})

    ended = await records.run(task)

    assert ended.status == "completed"
    (created,) = vercel.created
    assert created["deploymentId"] == latest
    assert created["withLatestCommit"] is True
    assert "target" not in created


async def test_a_type_without_handler_fails_once_and_names_the_known_ones(
    records: Records, start_worker: StartWorker
) -> None:
    worker = await start_worker().started()
    task = ops_task("refactor", {})

    ended = await records.run(task)

    assert ended.status == "failed"
    assert ended.error == (
        "no handler for tasks of type 'refactor'; this worker runs alert, deploy, investigate, monitor"
    )
    finished = 'opsagent_worker_tasks_finished_total{error_class="PermanentError",outcome="failed",type="other"}'
    await worker.counted(finished)
