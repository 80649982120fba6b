"""Commands that travel together: each gets its own reply, whatever happens to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
from redis.exceptions import ResponseError

from fixtures.redis import RedisServer
from opsagent_operator.observe.batching import MOST, BatchingRedis
from opsagent_queue import connect

pytestmark = pytest.mark.integration


@asynccontextmanager
async def batching(
    url: str, *, batches: int = 2, patience: float = 5.0
) -> AsyncIterator[BatchingRedis]:
    pool = connect(url, max_connections=batches).connection_pool
    client = BatchingRedis(pool, batches=batches, timeout=patience)
    yield client
    await client.aclose()


def connections(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return sum(one["name"] == "opsagent" for one in client.client_list())


async def test_every_command_gets_its_own_reply(redis_url: str) -> None:
    async with batching(redis_url) as client:
        numbers = range(3 * MOST)
        replies = await asyncio.gather(*(client.echo(str(number)) for number in numbers))
        assert replies == [str(number) for number in numbers]
        assert connections(redis_url) <= 2


async def test_an_error_is_told_only_to_whom_it_concerns(redis_url: str) -> None:
    async with batching(redis_url) as client:
        await client.set("text", "x")
        wrong, right = await asyncio.gather(
            client.lpush("text", "y"), client.get("text"), return_exceptions=True
        )
        assert isinstance(wrong, ResponseError)
        assert right == "x"


async def test_whoever_stops_waiting_does_not_stop_the_others(redis_url: str) -> None:
    async with batching(redis_url) as client:
        impatient = asyncio.ensure_future(client.echo("a"))
        patient = asyncio.ensure_future(client.echo("b"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == "b"
        assert impatient.cancelled()


async def test_what_was_given_up_while_it_waited_is_never_sent(redis_server: RedisServer) -> None:
    async with batching(redis_server.url, batches=1) as client:
        await client.echo("a")
        redis_server.freeze()
        try:
            first = asyncio.ensure_future(client.echo("b"))
            for _ in range(10):
                await asyncio.sleep(0)
            given_up = asyncio.ensure_future(client.set("text", "x"))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
        finally:
            redis_server.thaw()
        await first
        assert await client.get("text") is None


async def test_a_lost_connection_is_made_again(redis_url: str) -> None:
    async with batching(redis_url) as client:
        await client.echo("a")
        with redis.Redis.from_url(redis_url) as admin:
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert list(await asyncio.gather(client.echo("b"), client.echo("c"))) == ["b", "c"]


async def test_all_commands_fail_in_time_when_redis_says_nothing(redis_server: RedisServer) -> None:
    async with batching(redis_server.url, patience=1) as client:
        await client.echo("a")
        redis_server.freeze()
        try:
            replies = await asyncio.gather(
                *(client.echo("b") for _ in range(3 * MOST)), return_exceptions=True
            )
        finally:
            redis_server.thaw()
        assert {type(reply) for reply in replies} == {TimeoutError}
        assert await client.echo("c") == "c"


async def test_what_waits_is_cancelled_at_the_end(redis_server: RedisServer) -> None:
    async with batching(redis_server.url) as client:
        await client.echo("a")
        redis_server.freeze()
        waiting = [asyncio.ensure_future(client.echo("b")) for _ in range(3 * MOST)]
        await asyncio.sleep(0)
    redis_server.thaw()
    await asyncio.wait(waiting)
    assert all(one.cancelled() for one in waiting)
