"""Deploy tasks through real workers that are killed, drained and called off: what Vercel is asked for, and how often."""

import signal
from typing import Any

import pytest

from doubles.loopback import Gate, Response
from doubles.vercel import (
    BUILD_FAILS,
    BUILD_GOES_ON,
    BUILD_LOG,
    GIT_SOURCE,
    SWITCH_GOES_ON,
    VercelDouble,
)
from integration.worker.harness import EventLog, Records, StartWorker, eventually, next_attempt_ms
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration


def deploy_task(**payload: Any) -> Task:
    return Task.new(type="deploy", payload={"project": "web", **payload}, assigned_to="ops")


async def test_a_worker_killed_while_it_creates_leaves_one_deployment(
    queue: TaskQueue, records: Records, vercel: VercelDouble, start_worker: StartWorker, gate: Gate
) -> None:
    vercel.gate_of = lambda request: gate if request.method == "POST" else None
    first = await start_worker().started()
    task = deploy_task(gitSource=GIT_SOURCE)
    await queue.enqueue(task)
    await eventually(lambda: gate.arrived == 1, what="the creation is on its way")
    first.signal(signal.SIGKILL)
    gate.open()
    await eventually(lambda: len(vercel.created) == 1, what="the deployment is created")

    await start_worker().started()
    ended = await records.finished(task)

    assert ended.status == "completed"
    assert ended.metadata["result"]["deployment_id"] == "dpl_1"
    assert len(vercel.created) == 1


async def test_a_deployment_is_left_running_by_a_drain_and_finished_by_the_next_worker(
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    vercel: VercelDouble,
    start_worker: StartWorker,
) -> None:
    vercel.states = BUILD_GOES_ON
    first = await start_worker(OPSAGENT_DRAIN_TIMEOUT="0s").started()
    task = deploy_task(gitSource=GIT_SOURCE)
    await queue.enqueue(task)
    await events.published("deploy.started", task_id=task.task_id)
    first.signal(signal.SIGTERM)
    assert await first.exit_code() == 0
    assert vercel.cancelled == []

    await start_worker().started()
    vercel.finish_builds()
    ended = await records.finished(task)

    assert (ended.status, ended.retry_count) == ("completed", 0)
    assert len(vercel.created) == 1
    await events.published("task.completed", task_id=task.task_id)
    deploys = [kind for kind in events.types(task.task_id) if kind.startswith("deploy.")]
    assert deploys == ["deploy.started", "deploy.succeeded"]


async def test_cancelling_a_task_cancels_its_deployment(
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    vercel: VercelDouble,
    start_worker: StartWorker,
) -> None:
    vercel.states = BUILD_GOES_ON
    await start_worker().started()
    task = deploy_task(gitSource=GIT_SOURCE)
    await queue.enqueue(task)
    await events.published("deploy.started", task_id=task.task_id)

    assert await queue.cancel(task.task_id) == "cancelling"

    await events.published("task.cancelled", task_id=task.task_id)
    assert vercel.cancelled == ["dpl_1"]
    assert await records.status(task.task_id) == "cancelled"
    failed = await events.published("deploy.failed", task_id=task.task_id)
    assert failed.payload["state"] == "CANCELED"


async def test_a_worker_killed_while_it_rolls_back_does_not_roll_back_twice(
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    vercel: VercelDouble,
    start_worker: StartWorker,
) -> None:
    vercel.switch_statuses = SWITCH_GOES_ON
    _, before, current = (vercel.add_deployment(target="production") for _ in range(3))
    first = await start_worker().started()
    task = deploy_task(action="rollback", reason="checkout is broken")
    await queue.enqueue(task)
    await eventually(lambda: bool(vercel.switches), what="the rollback is asked for")
    first.signal(signal.SIGKILL)
    vercel.finish_switch()

    await start_worker().started()
    ended = await records.finished(task)

    result = ended.metadata["result"]
    assert ended.status == "completed"
    assert (result["previous_deployment_id"], result["deployment_id"]) == (current, before)
    assert vercel.switches == [("rollback", before)]
    assert vercel.production() == before
    rolled_back = await events.published("deploy.rolled_back", task_id=task.task_id)
    assert rolled_back.payload == result


async def test_a_promotion_goes_live(
    records: Records, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    old, _ = (vercel.add_deployment(target="production") for _ in range(2))
    await start_worker().started()

    ended = await records.run(deploy_task(action="promote", deployment=old))

    assert ended.status == "completed"
    assert vercel.production() == old


async def test_a_failed_build_fails_the_task_at_once_and_is_published_with_the_end_of_its_log(
    records: Records, events: EventLog, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    vercel.states = BUILD_FAILS
    await start_worker().started()
    task = deploy_task(gitSource=GIT_SOURCE)

    ended = await records.run(task)

    assert (ended.status, ended.retry_count) == ("failed", 0)
    assert "exited with 1" in str(ended.error)
    assert len(vercel.created) == 1
    failed = await events.published("deploy.failed", task_id=task.task_id)
    assert failed.priority == "high"
    assert failed.payload["log"] == list(BUILD_LOG)
    assert failed.payload["error"] == ended.error


async def test_a_rate_limit_delays_a_deployment(
    queue: TaskQueue, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    vercel.next_responses = [lambda _: Response(429, "slow down", {"Retry-After": "1800"})]
    await start_worker().started()
    await queue.enqueue(deploy_task(gitSource=GIT_SOURCE))

    assert await next_attempt_ms(queue) > 1_700_000
    assert vercel.created == []
