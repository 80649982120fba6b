"""Wake-ups: told at once about work, and again after every loss of the connection."""

import asyncio

import pytest

from fixtures.queue_bench import Bench
from fixtures.redis import RedisServer
from opsagent_queue import Cancelled, Created, Subscribed, Wakeup, Wakeups, Woken, connect
from opsagent_queue.subscription import logger

pytestmark = pytest.mark.integration


async def next_of(wakeups: Wakeups) -> Wakeup:
    async with asyncio.timeout(10):
        return await anext(wakeups)


async def test_a_subscription_and_each_new_task_wake(bench: Bench) -> None:
    async with bench.queue.wakeups() as wakeups:
        assert await next_of(wakeups) == Subscribed()
        task, foreign = bench.task(), bench.task(assigned_to="dev")
        await bench.enqueue(task)
        assert await next_of(wakeups) == Created(task.task_id)
        await bench.enqueue(foreign)
        assert await next_of(wakeups) == Created(foreign.task_id)


async def test_events_about_other_things_do_not_wake(bench: Bench) -> None:
    async with bench.queue.wakeups() as wakeups:
        await next_of(wakeups)
        claim = await bench.claim_one()
        assert await next_of(wakeups) == Created(claim.task.task_id)
        await bench.finish(claim.lease)
        waiting = asyncio.ensure_future(anext(wakeups))
        await bench.client.publish("orchestrator:events:task.failed", "x")
        await bench.client.ping()
        assert not waiting.done()
        task = bench.task()
        await bench.enqueue(task)
        async with asyncio.timeout(10):
            assert await waiting == Created(task.task_id)


async def test_a_cancelled_task_is_told_to_whoever_runs_it(bench: Bench) -> None:
    claim = await bench.claim_one()
    async with bench.queue.wakeups() as wakeups:
        await next_of(wakeups)
        assert await bench.queue.cancel(claim.task.task_id) == "cancelling"
        assert await next_of(wakeups) == Cancelled(claim.task.task_id)
        await bench.finish(claim.lease, status="cancelled")
        assert await next_of(wakeups) == Cancelled(claim.task.task_id)


@pytest.mark.parametrize("text", ["", "x", "[]", '{"task_id": null}'])
async def test_an_announcement_nobody_can_read_is_a_reason_to_look(bench: Bench, text: str) -> None:
    async with bench.queue.wakeups() as wakeups:
        await next_of(wakeups)
        await bench.client.publish("orchestrator:events:task.created", text)
        assert await next_of(wakeups) == Woken()


@pytest.mark.parametrize("how", ["opened", "released", "reaped"])
async def test_work_that_comes_back_wakes_too(bench: Bench, how: str) -> None:
    claim = await bench.claim_one()
    await bench.queue.set_paused(True)
    async with bench.queue.wakeups() as wakeups:
        await next_of(wakeups)
        match how:
            case "opened":
                await bench.queue.set_paused(False)
            case "released":
                await bench.queue.release([claim.lease])
            case _:
                await bench.expire(claim.lease)
                await bench.queue.reap()
        assert await next_of(wakeups) == Woken()


async def test_a_subscription_is_made_again_after_redis_comes_back(
    redis_server: RedisServer, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.queue.wakeups() as wakeups:
        assert await next_of(wakeups) == Subscribed()
        redis_server.kill()
        waiting = asyncio.ensure_future(anext(wakeups))
        redis_server.start()
        async with asyncio.timeout(10):
            assert await waiting == Subscribed()
        task = bench.task()
        await bench.enqueue(task)
        assert await next_of(wakeups) == Created(task.task_id)
    assert [record.name for record in caplog.records] == [logger.name]


async def test_waiting_starts_before_redis_does(redis_server: RedisServer, bench: Bench) -> None:
    redis_server.stop()
    async with bench.queue.wakeups() as wakeups:
        waiting = asyncio.ensure_future(anext(wakeups))
        redis_server.start()
        async with asyncio.timeout(10):
            assert await waiting == Subscribed()


async def test_a_broken_connection_is_replaced_at_once(bench: Bench) -> None:
    async with bench.queue.wakeups() as wakeups:
        await next_of(wakeups)
        await bench.client.client_kill_filter(_type="pubsub")
        assert await next_of(wakeups) == Subscribed()


async def test_a_connection_that_answers_no_ping_is_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that keeps the connection open but says nothing any more."""
    silent = asyncio.Event()
    keys = bench.queue.keys
    channels = ["orchestrator:events:task.created", "orchestrator:events:task.cancelled", keys.wake]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            if b"CLIENT" in chunk:
                writer.write(b"+OK\r\n" * chunk.count(b"CLIENT"))
            elif b"SUBSCRIBE" in chunk:
                for number, channel in enumerate(channels, start=1):
                    writer.write(
                        f"*3\r\n$9\r\nsubscribe\r\n${len(channel)}\r\n{channel}\r\n:{number}\r\n".encode()
                    )
            else:
                silent.set()
        writer.close()

    monkeypatch.setattr("opsagent_queue.subscription._PING_SECONDS", 0.05)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with Wakeups(client, keys) as wakeups:
        assert await next_of(wakeups) == Subscribed()
        assert await next_of(wakeups) == Subscribed()
        assert silent.is_set()
    await client.aclose()
    server.close()


async def test_subscribers_occupy_no_connection_that_commands_need(
    redis_url: str, bench: Bench
) -> None:
    client = connect(redis_url, max_connections=1)
    async with Wakeups(client, bench.queue.keys) as wakeups:
        await next_of(wakeups)
        async with asyncio.timeout(10):
            assert await client.ping()
    await client.aclose()
    await bench.client.ping()  # Redis lists a closed connection until its next turn
    clients = await bench.client.client_list(_type="pubsub")
    assert clients == []
