"""Starting, draining, dying, and Redis coming and going: no task is lost."""

import signal

import pytest
from redis.asyncio import Redis

from doubles.loopback import Gate
from fixtures.redis import RedisServer
from integration.worker.harness import Records, StartWorker, WorkerProcess, eventually, monitor
from opsagent_queue import TaskQueue

pytestmark = pytest.mark.integration

CLAIM_BY_POD_1 = "pod-1 v1.2.3"
"""How a claim of the first worker shows among the commands Redis executes: who claims, running what."""


async def test_a_worker_without_its_settings_names_every_one_that_is_missing() -> None:
    worker = WorkerProcess({"OPSAGENT_LEASE": "soon"})

    assert await worker.exit_code() == 2

    output = "".join(worker.output)
    worker.destroy()
    assert "Traceback" not in output
    for name in ("REDIS_URL", "VERCEL_TOKEN", "VERCEL_TEAM_ID", "OPSAGENT_LEASE"):
        assert f"- {name}" in output


async def test_a_running_task_is_finished_before_the_worker_ends(
    queue: TaskQueue,
    client: Redis,
    records: Records,
    held_url: str,
    gate: Gate,
    start_worker: StartWorker,
) -> None:
    worker = await start_worker(OPSAGENT_LEASE="3s", OPSAGENT_CONCURRENCY="1").started()
    running, waiting = monitor(held_url), monitor(held_url)
    await queue.enqueue(running)
    await eventually(lambda: gate.arrived == 1, what="the task is running")

    worker.signal(signal.SIGTERM)
    await eventually(lambda: bool(worker.logged("draining")), what="the worker drains")
    await queue.enqueue(waiting)
    renewals = {await client.zscore(queue.keys.own("leases"), running.task_id)}

    async def renewed_twice() -> bool:
        renewals.add(await client.zscore(queue.keys.own("leases"), running.task_id))
        return len(renewals) == 3

    await eventually(renewed_twice, what="the lease is renewed while draining")
    assert (await worker.get("/readyz"))[0] == 200
    assert (await worker.get("/livez"))[0] == 200
    (heartbeat,) = (await queue.snapshot()).workers.values()
    assert (heartbeat.draining, heartbeat.busy) == (True, 1)
    assert heartbeat.running == {"monitor": 1}
    gate.open()

    assert await worker.exit_code() == 0
    assert (await records.finished(running)).status == "completed"
    assert await records.status(waiting.task_id) == "pending"
    after = await queue.snapshot()
    assert (after.pending, after.in_flight) == (1, 0)
    assert after.workers == {}
    assert not await queue.counters()


@pytest.mark.parametrize("how", ["timeout", "second signal"])
async def test_a_task_that_cannot_finish_in_time_is_handed_back_uncounted(
    queue: TaskQueue,
    records: Records,
    held_url: str,
    gate: Gate,
    start_worker: StartWorker,
    how: str,
) -> None:
    patience = "100ms" if how == "timeout" else "1h"
    worker = await start_worker(OPSAGENT_DRAIN_TIMEOUT=patience).started()
    task = monitor(held_url)
    await queue.enqueue(task)
    await eventually(lambda: gate.arrived == 1, what="the task is running")

    worker.signal(signal.SIGTERM)
    await eventually(lambda: bool(worker.logged("draining")), what="the worker drains")
    if how == "second signal":
        worker.signal(signal.SIGTERM)

    assert await worker.exit_code() == 0
    after = await queue.snapshot()
    assert (after.pending, after.in_flight) == (1, 0)
    gate.open()
    await start_worker().started()
    ended = await records.finished(task)
    assert (ended.status, ended.retry_count) == ("completed", 0)


async def test_the_tasks_of_a_killed_worker_are_finished_by_another_and_counted(
    queue: TaskQueue, records: Records, held_url: str, gate: Gate, start_worker: StartWorker
) -> None:
    victim = await start_worker(OPSAGENT_LEASE="1s").started()
    tasks = [monitor(held_url) for _ in range(4)]
    for task in tasks:
        await queue.enqueue(task)
    await eventually(lambda: gate.arrived == 4, what="every task is running")

    victim.signal(signal.SIGKILL)
    survivor = await start_worker().started()
    await eventually(lambda: gate.arrived == 8, what="every task is running again")
    gate.open()

    ended = await records.ended(*(task.task_id for task in tasks))
    assert [(task.status, task.retry_count) for task in ended] == [("completed", 0)] * 4
    assert (await queue.counters())["rescued"] == 4
    assert await survivor.metric("opsagent_worker_tasks_rescued_total") == 4


async def test_a_worker_survives_a_restart_of_redis_and_reports_what_it_did_meanwhile(
    redis_server: RedisServer,
    queue: TaskQueue,
    records: Records,
    held_url: str,
    gate: Gate,
    start_worker: StartWorker,
) -> None:
    worker = await start_worker(OPSAGENT_LEASE="20s").started()
    during, after = monitor(held_url), monitor(held_url)
    await queue.enqueue(during)
    await eventually(lambda: gate.arrived == 1, what="the task is running")

    redis_server.stop()
    gate.open()
    await eventually(
        lambda: bool(worker.logged("outcomes not reported yet")),
        what="the task has ended while Redis is away",
    )

    async def cut_off() -> bool:
        return await worker.metric("opsagent_worker_queue_up") == 0

    await eventually(cut_off, what="the claim loop has noticed as well")
    assert (await worker.get("/livez"))[0] == 200
    assert (await worker.get("/readyz"))[0] == 200
    redis_server.start()
    await queue.enqueue(after)

    ended = await records.ended(during.task_id, after.task_id)
    assert [(task.status, task.retry_count) for task in ended] == [("completed", 0)] * 2
    assert gate.arrived == 2
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0


async def test_a_task_is_stopped_when_its_lease_ends_while_redis_is_away(
    redis_server: RedisServer,
    queue: TaskQueue,
    records: Records,
    held_url: str,
    gate: Gate,
    start_worker: StartWorker,
) -> None:
    worker = await start_worker(OPSAGENT_LEASE="2s").started()
    task = monitor(held_url)
    await queue.enqueue(task)
    await eventually(lambda: gate.arrived == 1, what="the task is running")

    redis_server.stop()
    await eventually(
        lambda: bool(worker.logged("lease lost, the task is stopped")),
        what="the task is stopped",
    )
    # Now, as on a busy machine the next lease may be lost as well.
    assert await worker.metric("opsagent_worker_leases_lost_total") == 1
    redis_server.start()
    await eventually(lambda: gate.arrived == 2, what="the task runs again")
    gate.open()

    ended = await records.finished(task)
    assert (ended.status, ended.retry_count) == ("completed", 0)


async def test_a_worker_that_starts_before_redis_becomes_ready_with_it(
    redis_server: RedisServer, start_worker: StartWorker
) -> None:
    redis_server.stop()
    worker = start_worker()
    await eventually(
        lambda: bool(worker.logged("the queue does not answer")), what="it has tried the queue"
    )
    assert (await worker.get("/readyz"))[0] == 503
    assert (await worker.get("/livez"))[0] == 200

    redis_server.start()

    await worker.started()


async def test_a_closed_gate_stops_the_intake_at_once_and_running_tasks_go_on(
    queue: TaskQueue,
    client: Redis,
    records: Records,
    held_url: str,
    gate: Gate,
    start_worker: StartWorker,
) -> None:
    await start_worker(OPSAGENT_CONCURRENCY="2").started()
    running, waiting = monitor(held_url), monitor(held_url)
    await queue.enqueue(running)
    await eventually(lambda: gate.arrived == 1, what="the task is running")

    await queue.set_paused(True)
    async with client.monitor() as commands:
        await queue.enqueue(waiting)
        gate.open()
        assert (await records.finished(running)).status == "completed"
        claims = 0
        while claims < 3:
            seen = (await commands.next_command())["command"]
            claims += CLAIM_BY_POD_1 in seen

    assert await records.status(waiting.task_id) == "pending"
    assert gate.arrived == 1
    await queue.set_paused(False)
    assert (await records.finished(waiting)).status == "completed"
