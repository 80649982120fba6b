"""What the operator makes of a queue that it can read, and of one that it cannot."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from fixtures.redis import RedisServer
from fixtures.sentinel import FailoverSetup
from integration.operator.observer import Observer, worker
from opsagent_operator.kube.errors import Forbidden
from opsagent_operator.model.observed import QueueState, Unreachable, Worker
from opsagent_operator.observe.cluster import Key
from opsagent_queue import Finished, Heartbeat, Retried, Task, TaskQueue, connect

pytestmark = pytest.mark.integration


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[TaskQueue]:
    client = connect(redis_url)
    yield TaskQueue(client, worker="shop/ops-agent")
    await client.aclose()


def task() -> Task:
    return Task.new(type="monitor", payload={"url": "http://x"}, assigned_to="ops")


async def claim(queue: TaskQueue, count: int) -> Any:
    return await queue.claim(
        owner="pod-1", version="v1", count=count, lease_ms=60_000, token="a-token"
    )


async def test_a_queue_is_counted(observer: Observer, queue: TaskQueue) -> None:
    for _ in range(5):
        await queue.enqueue(task())
    await queue.enqueue(Task.new(type="faq", payload={}, assigned_to="faq"))
    await claim(queue, 2)
    await queue.heartbeat("pod-1", Heartbeat(version="v1", slots=4, busy=2, draining=True))

    found = await observer.observe()
    assert isinstance(found, QueueState)
    assert (found.pending, found.in_flight, found.foreign, found.dead) == (3, 2, 1, 0)
    assert (found.busy_workers, found.draining_workers, found.paused) == (1, 1, False)
    assert found.oldest_seconds is not None
    assert found.oldest_seconds >= 0


@pytest.mark.parametrize(("delay_ms", "pending", "delayed"), [(0, 1, 0), (60_000, 0, 1)])
async def test_a_retry_that_is_due_counts_as_pending_though_no_worker_is_there_to_see_it(
    observer: Observer, queue: TaskQueue, delay_ms: int, pending: int, delayed: int
) -> None:
    await queue.enqueue(task())
    (claimed,) = (await claim(queue, 1)).claims
    retried = Retried(lease=claimed.lease, delay_ms=delay_ms, error="try again")
    await queue.retry([retried], version="v1")
    found = await observer.observe()
    assert isinstance(found, QueueState)
    assert (found.pending, found.delayed) == (pending, delayed)


async def test_one_redis_is_one_pool_however_many_objects_use_it(observer: Observer) -> None:
    for number in range(20):
        body = {"namespace": "shop", "name": f"w-{number}", "uid": str(number), "generation": 1}
        spec = worker().spec
        assert not isinstance(spec, Unreachable)
        found = await observer.queues.observe(
            Worker(
                namespace=str(body["namespace"]),
                name=str(body["name"]),
                uid=str(body["uid"]),
                generation=1,
                spec=spec,
                status={},
            )
        )
        assert isinstance(found, QueueState)
    assert len(observer.pools) == 1
    assert observer.reads == 1


async def test_a_missing_secret_is_named_and_found_once_it_is_there(
    observer: Observer, redis_url: str
) -> None:
    observer.secrets.clear()
    reason, message = await observer.reason()
    assert reason == "SecretNotFound"
    assert "redis" in message
    observer.secrets["redis"] = {"OTHER": "x"}
    reason, message = await observer.reason()
    assert reason == "SecretKeyMissing"
    assert "REDIS_URL" in message
    observer.secrets["redis"] = {"REDIS_URL": redis_url}
    assert isinstance(await observer.observe(), QueueState)


async def test_a_secret_that_may_not_be_read_is_told(observer: Observer) -> None:
    observer.secrets["redis"] = Forbidden("secrets is forbidden")
    reason, message = await observer.reason()
    assert reason == "SecretForbidden"
    assert "get" in message


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@localhost",
        "redis://:hunter2@",
        "rediss://:hunter2@h?ssl_cert_reqs=none",
        "redis://u:hunter2@h:port",
    ],
)
async def test_an_unusable_url_is_explained_without_its_password(
    observer: Observer, url: str
) -> None:
    observer.secrets["redis"] = {"REDIS_URL": url}
    reason, message = await observer.reason()
    assert reason == "InvalidURL"
    assert "REDIS_URL" in message
    assert "hunter2" not in message


async def test_a_certificate_authority_that_is_none_is_told(observer: Observer) -> None:
    observer.secrets["redis"] = {"REDIS_URL": "rediss://h", "ca": "no certificate"}
    ca_from = {"secretKeyRef": {"name": "redis", "key": "ca"}}
    reason, _ = await observer.reason(caFrom=ca_from)
    assert reason == "InvalidURL"


async def test_a_redis_that_is_away_is_told_and_read_again_when_it_is_back(
    observer: Observer, redis_server: RedisServer
) -> None:
    assert isinstance(await observer.observe(), QueueState)
    redis_server.kill()
    reason, message = await observer.reason()
    assert reason == "ConnectionFailed"
    assert "Secret redis" in message
    redis_server.start()
    observer.secrets["redis"] = {"REDIS_URL": redis_server.url}
    while not isinstance(await observer.observe(), QueueState):
        pass


async def test_a_dead_redis_is_tried_once_for_all_who_share_it(
    observer: Observer, redis_server: RedisServer
) -> None:
    redis_server.kill()
    await observer.reason()
    attempts = 0

    def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", redis_server.port):
        for _ in range(100):
            await observer.reason()
    assert attempts == 0


async def test_a_changed_url_is_used_at_once_when_the_old_one_fails(
    observer: Observer, redis_server: RedisServer, tmp_path: Path
) -> None:
    assert isinstance(await observer.observe(), QueueState)
    other = RedisServer(tmp_path)
    other.start()
    try:
        redis_server.kill()
        observer.secrets["redis"] = {"REDIS_URL": other.url}
        assert isinstance(await observer.observe(), QueueState)
    finally:
        other.stop()
        redis_server.start()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with a user that has a password, and one that may do nothing."""
    server = RedisServer(tmp_path)
    server.start()
    with redis.Redis(port=server.port) as client:
        client.acl_setuser("known", enabled=True, passwords=["+secret-word"], categories=["+@all"])
        client.acl_setuser("guest", enabled=True, passwords=["+secret-word"], commands=["+client"])
    yield server
    server.stop()


async def test_what_one_object_may_not_read_keeps_nobody_else_on_that_redis_from_reading(
    guarded: RedisServer,
) -> None:
    with redis.Redis(port=guarded.port) as client:
        client.execute_command(
            *("ACL", "SETUSER", "known", "reset", "on", ">word", "&*", "+@all"),
            *("~orchestrator:*", "~opsagent:{shop/ours}:*"),
        )
    observer = Observer(
        {"redis": {"REDIS_URL": guarded.url.replace("redis://", "redis://known:word@")}}
    )
    try:
        for _ in range(3):
            (refused,) = await observer.visit(worker("theirs"))
            assert isinstance(refused, Unreachable)
            assert refused.reason == "AuthenticationFailed"
            (read,) = await observer.visit(worker("ours"))
            assert isinstance(read, QueueState)
    finally:
        await observer.pools.close()


@pytest.mark.parametrize("login", ["known:wrong-word", "nobody:secret-word", "guest:secret-word"])
async def test_refused_credentials_are_told_without_them(guarded: RedisServer, login: str) -> None:
    observer = Observer(
        {"redis": {"REDIS_URL": guarded.url.replace("redis://", f"redis://{login}@")}}
    )
    try:
        reason, message = await observer.reason()
    finally:
        await observer.pools.close()
    assert reason == "AuthenticationFailed"
    assert "-word" not in message


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("SET", "orchestrator:tasks", "x"), "orchestrator:tasks"),
        (("SET", "opsagent:{shop/ops-agent}:gate", "x"), "opsagent:{shop/ops-agent}:gate"),
        (("LPUSH", "opsagent:{shop/ops-agent}:leases", "x"), "opsagent:{shop/ops-agent}:leases"),
    ],
)
async def test_a_key_of_another_type_is_named(
    observer: Observer, redis_url: str, command: tuple[str, ...], key: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(*command)
    reason, message = await observer.reason()
    assert reason == "WrongType"
    assert key in message


async def test_delayed_tasks_are_soon_if_they_are_due_before_a_pod_could_be_ready(
    observer: Observer, queue: TaskQueue
) -> None:
    for delay_ms in (20_000, 60_000):
        await queue.enqueue(task())
        claimed = await queue.claim(
            owner="pod-1", version="v1", count=1, lease_ms=60_000, token=str(delay_ms)
        )
        await queue.retry(
            [Retried(lease=claimed.claims[0].lease, delay_ms=delay_ms, error="x")], version="v1"
        )
    for start_time, soon in ((10, 0), (30, 1), (90, 2)):
        found = await observer.queues.observe(worker(), start_time=timedelta(seconds=start_time))
        assert isinstance(found, QueueState)
        assert (found.delayed, found.soon) == (2, soon)


async def test_the_mean_run_time_of_versions_is_told_to_whoever_asks(
    observer: Observer, queue: TaskQueue
) -> None:
    await queue.enqueue(task())
    claimed = await claim(queue, 1)
    await queue.finish(
        [Finished(lease=claimed.claims[0].lease, status="completed", seconds=12.5)],
        version="v1",
        result_ttl_ms=60_000,
    )
    means = [
        (await observer.queues.observe(worker(), versions=versions)).mean_seconds  # type: ignore[union-attr] # it can be read
        for versions in ((), ("v1",), ("v0",))
    ]
    assert means == [None, 12.5, None]


async def test_a_replica_is_not_believed(
    observer: Observer, redis_server: RedisServer, tmp_path: Path
) -> None:
    replica = RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(redis_server.port))
    replica.start()
    try:
        observer.secrets["redis"] = {"REDIS_URL": replica.url}
        async with asyncio.timeout(20):
            while (found := await observer.reason())[0] == "Loading":
                pass
        assert found[0] == "ReadOnly"
        assert "point it to the primary" in found[1]
    finally:
        replica.stop()


async def test_what_was_read_too_long_ago_is_not_believed(
    observer: Observer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(await observer.observe(), QueueState)
    with monkeypatch.context() as patched:
        patched.setattr("opsagent_operator.observe.queue.STALE_AFTER", 0.2)
        redis_server.freeze()
        asyncio.get_running_loop().call_later(0.4, redis_server.thaw)
        reason, message = await observer.reason()
    assert reason == "Stale"
    assert "CPU" in message
    assert isinstance(await observer.observe(), QueueState)


async def test_pools_whose_objects_are_gone_are_closed(observer: Observer) -> None:
    await observer.observe()
    await observer.pools.close_unused(seconds=0)
    assert len(observer.pools) == 1
    observer.queues.forget(Key("shop", "ops-agent"))
    await observer.pools.close_unused(seconds=3600)
    assert len(observer.pools) == 1
    await observer.pools.close_unused(seconds=0)
    assert len(observer.pools) == 0


@pytest.fixture
def failover(tmp_path: Path) -> Iterator[FailoverSetup]:
    setup = FailoverSetup(tmp_path)
    setup.start()
    yield setup
    setup.stop()


async def test_a_queue_behind_sentinel_is_read_from_whoever_is_master(
    failover: FailoverSetup,
) -> None:
    observer = Observer({"redis": {"REDIS_URL": failover.url()}})
    async with connect(failover.url()) as client:
        await TaskQueue(client, worker="shop/ops-agent").enqueue(
            Task.new(type="monitor", payload={}, assigned_to="ops")
        )
        assert await client.wait(1, 5000) == 1
    before = await observer.observe()
    assert isinstance(before, QueueState)
    failover.servers[0].kill()
    reasons = set()
    async with asyncio.timeout(30):
        while isinstance(found := await observer.observe(), Unreachable):
            reasons.add(found.reason)
    assert found.pending == before.pending == 1
    assert reasons <= {"ConnectionFailed"}
    await observer.pools.close()


async def test_a_right_that_a_script_misses_is_told_as_such(
    observer: Observer, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(
            *("ACL", "SETUSER", "known", "reset", "on", ">word", "~*", "&*", "+@all", "-zcard")
        )
    url = redis_url.replace("redis://", "redis://known:word@")
    observer.secrets["redis"] = {"REDIS_URL": url}
    reason, message = await observer.reason()
    assert reason == "AuthenticationFailed"
    assert "docs/redis.md lists what has to be granted" in message
