"""Sentinel: connections follow the master, whoever it is, and say why when there is none."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from doubles.tls import certificate
from fixtures.queue_bench import Bench
from fixtures.sentinel import SERVICE, FailoverSetup
from opsagent_queue import (
    Created,
    QueueError,
    QueueRefusedError,
    QueueUnavailableError,
    Subscribed,
    TaskQueue,
    Wakeup,
    Wakeups,
    connect,
)

pytestmark = pytest.mark.integration

PASSWORD = "s3cr3t-word"
SENTINEL_PASSWORD = "0ther-word"


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[FailoverSetup]:
    setup = FailoverSetup(tmp_path, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD)
    setup.start()
    yield setup
    setup.stop()


@pytest.fixture
async def client(setup: FailoverSetup) -> AsyncIterator[Redis]:
    # The first Sentinel of the list is not there.
    url = setup.url(before="127.0.0.1:1,", query=f"?sentinel_password={SENTINEL_PASSWORD}")
    async with connect(url, socket_timeout=1) as client:
        yield client


async def next_of(wakeups: Wakeups) -> Wakeup:
    async with asyncio.timeout(20):
        return await anext(wakeups)


async def port_of_master(client: Redis) -> int:
    """The port commands arrive at; waits while there is no master."""
    async with asyncio.timeout(20):
        while True:
            try:
                await TaskQueue(client, worker="a/b").counters()
                role = await client.info("replication")
                if role["role"] == "master":
                    return int((await client.info("server"))["tcp_port"])
            except (QueueError, RedisError, OSError):
                await asyncio.sleep(0.02)


async def test_claims_go_on_at_the_new_master_when_the_old_one_dies(
    setup: FailoverSetup, bench: Bench
) -> None:
    old, new = setup.servers
    async with bench.queue.wakeups() as wakeups:
        assert await next_of(wakeups) == Subscribed()
        claim = await bench.claim_one()
        assert await next_of(wakeups) == Created(claim.task.task_id)
        assert await bench.client.wait(1, 5000) == 1

        old.kill()

        assert await next_of(wakeups) == Subscribed()
        assert await port_of_master(bench.client) == new.port
        assert await bench.finish(claim.lease)
        other = await bench.claim_one()
        assert await next_of(wakeups) == Created(other.task.task_id)
        assert other.lease.fence > claim.lease.fence


async def test_a_planned_failover_moves_everybody_to_the_new_master(
    setup: FailoverSetup, bench: Bench
) -> None:
    old, new = setup.servers
    async with bench.queue.wakeups() as wakeups:
        assert await next_of(wakeups) == Subscribed()
        claim = await bench.claim_one()
        await next_of(wakeups)
        assert await bench.client.wait(1, 5000) == 1

        setup.fail_over()

        assert await next_of(wakeups) == Subscribed()
        assert await port_of_master(bench.client) == new.port
        assert old.running
        assert await bench.finish(claim.lease)
        other = await bench.claim_one()
        assert await next_of(wakeups) == Created(other.task.task_id)


async def test_a_user_of_sentinel_needs_one_command(setup: FailoverSetup) -> None:
    port, host = setup.sentinel_port, "127.0.0.1"
    async with Redis(host=host, port=port, password=SENTINEL_PASSWORD) as sentinel:
        for rights in ("+sentinel|masters", "-@all"):
            await sentinel.execute_command(  # type: ignore[no-untyped-call] # redis-py leaves it untyped
                "ACL", "SETUSER", "watcher", "reset", "on", ">watch-word", rights
            )
            url = setup.url(query="?sentinel_username=watcher&sentinel_password=watch-word")
            async with connect(url) as client:
                queue = TaskQueue(client, worker="a/b")
                if rights == "-@all":
                    with pytest.raises(QueueRefusedError, match="their own"):
                        await queue.counters()
                else:
                    assert await queue.counters() == {}


async def test_what_is_wrong_with_sentinel_is_told_without_a_password(
    setup: FailoverSetup, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    right = setup.url(query=f"?sentinel_password={SENTINEL_PASSWORD}")
    wrong: list[tuple[str, type[QueueError], str]] = [
        (setup.url(), QueueRefusedError, "credentials of their own"),
        (setup.url(query="?sentinel_password=wr0ng-word"), QueueRefusedError, "their own"),
        (right.replace(PASSWORD, "wr0ng-word"), QueueRefusedError, "refused the credentials"),
        (
            right.replace(f"/{SERVICE}/", "/main/"),
            QueueUnavailableError,
            f"watches no main, but {SERVICE}",
        ),
        (
            f"redis+sentinel://:{PASSWORD}@127.0.0.1:1/{SERVICE}",
            QueueUnavailableError,
            "Sentinel 127.0.0.1:1 does not answer",
        ),
    ]
    told = ""
    for url, kind, sentence in wrong:
        async with connect(url) as client:
            for _ in range(2):  # the second time, the pool has a connection that was never made
                with pytest.raises(kind, match=sentence) as caught:
                    await TaskQueue(client, worker="a/b").snapshot()
        told += str(caught.value) + repr(caught.value.__cause__)
    for password in (PASSWORD, SENTINEL_PASSWORD, "wr0ng-word"):
        assert password not in told + caplog.text


async def test_a_dead_master_without_a_successor_is_unavailable(
    setup: FailoverSetup, client: Redis
) -> None:
    queue = TaskQueue(client, worker="a/b")
    await queue.counters()
    for server in reversed(setup.servers):
        server.kill()

    async def told() -> str:
        with pytest.raises(QueueUnavailableError) as caught:
            await queue.counters()
        return str(caught.value)

    async with asyncio.timeout(20):
        while "is down, and has not chosen" not in await told():
            pass


@pytest.mark.tls
async def test_tls_is_verified_at_sentinels_and_at_the_masters_they_name(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=1)
    setup = FailoverSetup(tmp_path, pem=pem)
    setup.start()
    try:
        async with connect(setup.tls_url, ca_file=str(pem)) as client:
            bench = Bench(TaskQueue(client, worker="a/b"), client)
            claim = await bench.claim_one()
            assert await client.wait(1, 5000) == 1
            setup.servers[0].kill()
            assert await port_of_master(client) == setup.servers[1].port
            assert await bench.finish(claim.lease)
        async with connect(setup.tls_url) as client:
            with pytest.raises(QueueUnavailableError, match="certificate"):
                await TaskQueue(client, worker="a/b").counters()
    finally:
        setup.stop()
