"""How commands reach Redis: at once, and not for ever."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from opsagent_queue import connect

pytestmark = pytest.mark.integration


async def test_sending_a_command_waits_for_nothing(client: Redis) -> None:
    await client.ping()
    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    sending = connection.send_command("PING")

    with pytest.raises(StopIteration):
        sending.send(None)

    assert await connection.read_response() == "PONG"
    await client.connection_pool.release(connection)


async def test_what_redis_does_not_even_take_is_given_up_like_an_answer_that_does_not_come() -> (
    None
):
    over = asyncio.Event()

    async def greet_and_hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(b"+OK\r\n")
        await over.wait()
        writer.close()

    server = await asyncio.start_server(greet_and_hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = connect(f"redis://127.0.0.1:{port}/0", socket_timeout=0.2)
    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]

    await connection.send_command("SET", "key", "x" * 50_000_000)
    with pytest.raises(RedisTimeoutError):
        await connection.read_response()

    assert not connection.is_connected
    over.set()
    server.close()
    await client.aclose()
