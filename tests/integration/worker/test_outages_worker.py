"""A worker whose Redis fails in every way it can: it stays, loses nothing, and goes on by itself."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from doubles.loopback import Gate
from doubles.tls import certificate
from fixtures.access_rules import rule
from fixtures.redis import RedisServer
from fixtures.sentinel import FailoverSetup
from integration.worker.harness import (
    WORKER,
    EventLog,
    Records,
    StartWorker,
    WorkerProcess,
    eventually,
    monitor,
)
from opsagent_queue import TaskQueue, connect

pytestmark = pytest.mark.integration


async def completed(records: Records, url: str) -> None:
    """A new task is done: the worker is well."""
    assert (await records.run(monitor(url))).status == "completed"


async def told(worker: WorkerProcess, reason: str) -> None:
    """The worker has logged why the queue does not answer."""
    await eventually(
        lambda: any(
            reason in line["reason"] for line in worker.logged("the queue does not answer")
        ),
        what=f"the worker tells of {reason!r}",
    )


async def unreported(worker: WorkerProcess) -> None:
    """A task has ended, and the worker keeps its outcome for Redis."""

    async def kept() -> bool:
        return await worker.metric("opsagent_worker_tasks_unreported") == 1

    await eventually(kept, what="the handler has ended")


async def test_what_a_task_achieved_while_redis_was_frozen_is_reported_afterwards(
    redis_server: RedisServer,
    queue: TaskQueue,
    records: Records,
    start_worker: StartWorker,
    gate: Gate,
    held_url: str,
    health_url: str,
) -> None:
    worker = await start_worker(OPSAGENT_LEASE="20s").started()
    task = monitor(held_url)
    await queue.enqueue(task)
    await eventually(lambda: gate.arrived == 1, what="the task runs")
    redis_server.freeze()

    gate.open()
    await unreported(worker)
    redis_server.thaw()

    ended = await records.finished(task)
    assert (ended.status, ended.retry_count) == ("completed", 0)
    assert gate.arrived == 1
    await completed(records, health_url)
    assert await queue.counters() == {}


async def test_after_a_flush_the_worker_stops_what_nobody_knows_of_and_serves_what_is_new(
    client: Redis,
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    start_worker: StartWorker,
    gate: Gate,
    held_url: str,
    health_url: str,
) -> None:
    worker = await start_worker(OPSAGENT_LEASE="1s").started()
    running, waiting = monitor(held_url), monitor("http://127.0.0.1:1")
    await queue.enqueue(running)
    await eventually(lambda: gate.arrived == 1, what="the task runs")
    await queue.set_paused(True)
    await queue.enqueue(waiting)

    await client.flushall()

    async def lost() -> bool:
        return await worker.metric("opsagent_worker_leases_lost_total") == 1

    await eventually(lost, what="the lease is known to be lost")
    await completed(records, health_url)
    assert events.types(running.task_id) == ["task.created", "task.started"]
    assert events.types(waiting.task_id) == ["task.created"]
    assert await client.exists(queue.keys.record(running.task_id)) == 0
    assert await client.scard(queue.keys.processing) == 0
    assert worker.running


async def test_without_memory_a_running_task_ends_and_the_next_waits_for_memory(
    redis_server: RedisServer,
    client: Redis,
    queue: TaskQueue,
    records: Records,
    start_worker: StartWorker,
    gate: Gate,
    held_url: str,
    health_url: str,
) -> None:
    worker = await start_worker(OPSAGENT_CONCURRENCY="1", OPSAGENT_LEASE="3s").started()
    running, waiting = monitor(held_url), monitor(health_url)
    await queue.enqueue(running)
    await eventually(lambda: gate.arrived == 1, what="the task runs")
    await queue.enqueue(waiting)
    await client.config_set("maxmemory", "1")
    renewed = await client.zscore(queue.keys.own("leases"), running.task_id)

    async def renewed_again() -> bool:
        deadline = await client.zscore(queue.keys.own("leases"), running.task_id)
        return deadline is not None and renewed is not None and deadline > renewed

    await eventually(renewed_again, what="the lease is renewed")
    gate.open()
    assert (await records.finished(running)).status == "completed"
    await told(worker, "maxmemory is reached")
    assert await records.status(waiting.task_id) == "pending"

    await client.config_set("maxmemory", "0")
    assert (await records.finished(waiting)).status == "completed"
    assert await queue.counters() == {}
    assert redis_server.running


async def test_a_server_that_became_a_replica_is_waited_for(
    redis_server: RedisServer,
    client: Redis,
    queue: TaskQueue,
    records: Records,
    start_worker: StartWorker,
    health_url: str,
) -> None:
    worker = await start_worker().started()
    task = monitor(health_url)
    await queue.set_paused(True)
    await queue.enqueue(task)
    await queue.set_paused(False)
    await records.finished(task)
    await client.replicaof("127.0.0.1", "1")
    await client.publish(queue.keys.wake, "opened")
    await told(worker, "read only replica")

    await client.replicaof("NO", "ONE")

    await completed(records, health_url)
    assert redis_server.running


async def allow(client: Redis, password: str, *rules: str) -> None:
    await client.execute_command("ACL", "SETUSER", "pod", *rules, f">{password}")  # type: ignore[no-untyped-call] # redis-py leaves it untyped


async def test_a_worker_with_the_documented_rights_works_and_waits_while_they_are_gone(
    client: Redis, records: Records, redis_url: str, start_worker: StartWorker, health_url: str
) -> None:
    await allow(client, "another-word", *rule("opsagent-worker"))
    worker = start_worker(REDIS_URL=redis_url.replace("redis://", "redis://pod:right-word@"))
    await told(worker, "Redis refused the credentials")
    assert (await worker.get("/readyz"))[0] == 503
    assert (await worker.get("/livez"))[0] == 200

    await allow(client, "right-word", *rule("opsagent-worker"))
    await worker.started()
    await completed(records, health_url)

    await allow(client, "right-word", *rule("opsagent-worker"), "-evalsha")
    await told(worker, "docs/redis.md lists what has to be granted")
    await allow(client, "right-word", *rule("opsagent-worker"))
    await completed(records, health_url)
    refused = {
        entry["object"]
        for entry in await client.acl_log()
        if entry["username"] == "pod" and entry["reason"] == "command"
    }
    assert refused == {"evalsha"}
    assert "right-word" not in "".join(worker.output)


@pytest.fixture
def failover(tmp_path: Path) -> Iterator[FailoverSetup]:
    setup = FailoverSetup(tmp_path, password="right-word", sentinel_password="watch-word")
    setup.start()
    yield setup
    setup.stop()


async def test_a_task_that_runs_during_a_failover_is_reported_to_the_new_master(
    failover: FailoverSetup,
    start_worker: StartWorker,
    gate: Gate,
    held_url: str,
    health_url: str,
) -> None:
    url = failover.url(query="?sentinel_password=watch-word")
    worker = await start_worker(REDIS_URL=url, OPSAGENT_LEASE="20s").started()
    async with connect(url) as client:
        queue = TaskQueue(client, worker=WORKER)
        records = Records(client, queue)
        task = monitor(held_url)
        await queue.enqueue(task)
        await eventually(lambda: gate.arrived == 1, what="the task runs")
        assert await client.wait(1, 5000) == 1

        failover.servers[0].kill()
        gate.open()
        await unreported(worker)

        async def new_master() -> bool:
            try:
                return str((await client.info("server"))["tcp_port"]) == str(
                    failover.servers[1].port
                )
            except (RedisError, OSError):
                return False

        await eventually(new_master, what="there is a new master")
        ended = await records.finished(task)
        assert (ended.status, ended.retry_count) == ("completed", 0)
        await completed(records, health_url)
        assert gate.arrived == 1
    assert "watch-word" not in "".join(worker.output)


async def test_a_worker_ends_well_although_redis_does_not_take_part_in_closing_tls(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    pem = certificate(tmp_path, valid_days=1)
    server = RedisServer(
        tmp_path,
        *("--tls-cert-file", str(pem), "--tls-key-file", str(pem)),
        *("--tls-ca-cert-file", str(pem), "--tls-auth-clients", "no"),
        tls=True,
    )
    server.start()
    try:
        worker = await start_worker(
            REDIS_URL=server.tls_url,
            OPSAGENT_REDIS_CA_FILE=str(pem),
            OPSAGENT_DRAIN_TIMEOUT="0s",
            OPSAGENT_LEASE="30s",
        ).started()
        server.freeze()
        worker.signal(signal.SIGTERM)

        assert await worker.exit_code() == 0
        assert worker.logged("worker failed") == []
    finally:
        server.thaw()
        server.stop()
