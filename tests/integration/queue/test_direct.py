"""Commands that go straight to an idle connection: never to a wrong answer, and never more than the pool may have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from opsagent_queue import connect
from opsagent_queue.direct import DirectPool

pytestmark = pytest.mark.integration

NEVER = b"\nnever\r"


@dataclass
class Server:
    """Says PONG to PING and OK to all else, except to a GET of `never`."""

    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    asked_never: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        while received := await reader.read(1 << 16):
            if NEVER in received:
                self.asked_never += 1
                self.asked.set()
            else:
                writer.write(b"+PONG\r\n" if b"PING" in received else b"+OK\r\n")
        writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
    try:
        yield server
    finally:
        listening.close()


async def test_commands_one_after_the_other_need_one_connection(redis_url: str) -> None:
    async with connect(redis_url, client_name="one-by-one") as client:
        for number in range(20):
            assert await client.echo(str(number)) == str(number)
        clients = await client.client_list()
    assert [one["name"] for one in clients].count("one-by-one") == 1


async def test_commands_side_by_side_get_their_own_answers_over_no_more_connections_than_allowed(
    redis_url: str,
) -> None:
    async with connect(redis_url, client_name="side-by-side", max_connections=3) as client:
        for _ in range(3):
            wanted = [str(number) for number in range(50)]
            answers = await asyncio.gather(*map(client.echo, wanted))
            assert answers == wanted
        clients = await client.client_list()
    assert [one["name"] for one in clients].count("side-by-side") == 3


async def test_all_who_wait_for_a_connection_get_one_as_soon_as_there_are_some(
    redis_url: str,
) -> None:
    async with connect(redis_url, max_connections=2) as client:
        pool = client.connection_pool
        assert isinstance(pool, DirectPool)
        in_use = [await pool.get_connection() for _ in range(2)]
        waiting = [asyncio.create_task(pool.get_connection()) for _ in range(2)]
        await asyncio.sleep(0)  # each begins to wait
        for connection in in_use:
            await pool.give_back(connection)
        assert pool.can_get_connection()
        assert pool.take_idle() is None, "somebody has waited for it"
        async with asyncio.timeout(3):
            assert set(await asyncio.gather(*waiting)) == set(in_use)
        await asyncio.gather(*map(pool.give_back, in_use))
        assert pool.take_idle() in in_use


async def test_an_idle_connection_that_was_closed_costs_no_command(
    client: Redis, redis_url: str
) -> None:
    async with connect(redis_url) as killed:
        for _ in range(3):
            number = await killed.client_id()
            await client.client_kill_filter(_id=str(number))
            assert await killed.echo("still here") == "still here"


async def test_an_answer_nobody_waits_for_is_not_taken_for_that_of_the_next_command() -> None:
    async with serving() as server, connect(server.url) as client:
        assert await client.get("x") == "OK"
        server.connections[0].write(b"+a stray one\r\n")
        await server.connections[0].drain()
        async with asyncio.timeout(5):
            connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            while not await connection.can_read():  # noqa: ASYNC110 - redis-py tells nobody
                await asyncio.sleep(0)
            await client.connection_pool.release(connection)
        assert await client.get("x") == "OK"
        assert len(server.connections) == 2


@pytest.mark.parametrize("how", ["given up", "cancelled"])
async def test_the_answer_to_a_command_that_was_left_goes_nowhere(how: str) -> None:
    async with serving() as server, connect(server.url, socket_timeout=0.2) as client:
        await client.get("x")
        left = asyncio.ensure_future(client.get("never"))
        async with asyncio.timeout(5):
            await server.asked.wait()
        if how == "cancelled":
            left.cancel()
        with pytest.raises((RedisTimeoutError, asyncio.CancelledError)):
            await left
        for connection in server.connections:
            connection.write(b"+too late\r\n")
        assert await client.get("x") == "OK"


async def test_a_client_bound_to_one_connection_uses_no_other(redis_url: str) -> None:
    async with connect(redis_url) as client:
        await asyncio.gather(client.ping(), client.ping())  # one for it, one that is idle
        async with client.client() as bound:
            assert {await bound.client_id() for _ in range(3)} == {await bound.client_id()}
            assert await bound.client_id() != await client.client_id()


async def test_a_command_without_an_answer_is_sent_five_times_in_all() -> None:
    async with serving() as server, connect(server.url, socket_timeout=0.1) as client:
        await client.get("x")
        with pytest.raises(RedisTimeoutError):
            await client.get("never")
        assert server.asked_never == 5
