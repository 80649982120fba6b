"""A task that takes down worker after worker is given up, and a person hears of it."""

import gzip
import signal

import pytest
from redis.asyncio import Redis

from doubles.loopback import LoopbackServer, Response
from integration.worker.harness import Records, StartWorker, eventually
from opsagent_queue import MAX_CRASHES, Task, TaskQueue

pytestmark = pytest.mark.integration


async def take_down(queue: TaskQueue, client: Redis, task: Task, *, number: int) -> None:
    """Claims the task as a worker that dies with it: its lease is over, and nobody has noticed."""
    claimed = await queue.claim(
        owner=f"dead-{number}", version="v1", count=1, lease_ms=60_000, token=f"token-{number}"
    )
    assert [claim.task.task_id for claim in claimed.claims] == [task.task_id]
    await client.zadd(queue.keys.own("leases"), {task.task_id: 0}, xx=True)


async def test_a_task_that_is_given_up_is_told_to_sentry_once(
    client: Redis, queue: TaskQueue, records: Records, start_worker: StartWorker
) -> None:
    task = Task.new(type="monitor", payload={"url": "http://nowhere"}, assigned_to="ops")
    await queue.enqueue(task)
    for number in range(1, MAX_CRASHES):
        await take_down(queue, client, task, number=number)
        await queue.reap()
    await take_down(queue, client, task, number=MAX_CRASHES)

    with LoopbackServer(lambda _request: Response(200, {})) as sentry:
        dsn = sentry.url.replace("http://", "http://key@") + "/1"
        worker = await start_worker(SENTRY_DSN=dsn).started()
        ended = await records.finished(task)

        async def noted() -> bool:
            return await worker.metric("opsagent_worker_tasks_poisoned_total") == 1

        await eventually(noted, what="the worker knows that it gave up a task")
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        (request,) = sentry.requests

    assert ended.status == "failed"
    report = gzip.decompress(request.body).decode()
    assert "tasks were given up because they took down worker after worker" in report
    assert '"tasks":"1"' in report
