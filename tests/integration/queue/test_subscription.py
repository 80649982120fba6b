"""Subscriptions: channels that come and go, over connections that come and go."""

import asyncio

import pytest
import redis as blocking
from redis.asyncio import Redis

from fixtures.redis import RedisServer
from opsagent_queue import Message, Subscribed, Subscription, connect

pytestmark = pytest.mark.integration


async def next_of(subscription: Subscription) -> Subscribed | Message:
    async with asyncio.timeout(10):
        return await anext(subscription)


async def test_messages_of_its_channels_are_told(client: Redis) -> None:
    async with Subscription(client, ["a", "b"]) as subscription:
        assert await next_of(subscription) == Subscribed()
        await client.publish("c", "0")
        await client.publish("b", "1")
        await client.publish("a", "2")
        assert await next_of(subscription) == Message("b", "1")
        assert await next_of(subscription) == Message("a", "2")


async def test_bytes_that_are_no_text_arrive_all_the_same(client: Redis) -> None:
    async with Subscription(client, ["a"]) as subscription:
        await next_of(subscription)
        await client.publish("a", b"\xff")
        message = await next_of(subscription)
        assert isinstance(message, Message)
        assert message.text.encode(errors="surrogateescape") == b"\xff"


async def test_channels_can_be_added_and_removed_at_any_time(client: Redis) -> None:
    async with Subscription(client, ["a"]) as subscription:
        assert await next_of(subscription) == Subscribed()
        subscription.add("b", "c")
        subscription.add("b")
        assert await next_of(subscription) == Subscribed(("b", "c"))
        subscription.remove("a", "b")
        subscription.add("d")
        assert await next_of(subscription) == Subscribed(("d",))
        for channel in "abcd":
            await client.publish(channel, channel)
        assert await next_of(subscription) == Message("c", "c")
        assert await next_of(subscription) == Message("d", "d")


async def test_the_first_channel_may_come_late(client: Redis) -> None:
    async with Subscription(client) as subscription:
        waiting = asyncio.ensure_future(anext(subscription))
        await client.ping()
        assert await client.client_list(_type="pubsub") == []
        subscription.add("a")
        async with asyncio.timeout(10):
            assert await waiting == Subscribed()
        subscription.remove("a")
        subscription.add("b")
        assert await next_of(subscription) == Subscribed(("b",))


async def test_a_new_connection_listens_to_what_was_added_and_not_to_what_was_removed(
    client: Redis,
) -> None:
    async with Subscription(client, ["a", "b"]) as subscription:
        await next_of(subscription)
        subscription.add("c")
        subscription.remove("b")
        await next_of(subscription)
        assert subscription.listening
        await client.client_kill_filter(_type="pubsub")
        assert await next_of(subscription) == Subscribed()
        for channel in "bca":
            await client.publish(channel, channel)
        assert await next_of(subscription) == Message("c", "c")
        assert await next_of(subscription) == Message("a", "a")


async def test_channels_may_be_changed_while_redis_is_away(redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    async with Subscription(client, ["a"]) as subscription:
        await next_of(subscription)
        redis_server.kill()
        waiting = asyncio.ensure_future(anext(subscription))
        while subscription.listening:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0)
        subscription.add("b")
        subscription.remove("a")
        redis_server.start()
        async with asyncio.timeout(10):
            assert await waiting == Subscribed()
        await client.publish("a", "1")
        await client.publish("b", "2")
        assert await next_of(subscription) == Message("b", "2")
    await client.aclose()


async def test_a_channel_that_is_refused_harms_no_other_and_is_asked_for_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("opsagent_queue.subscription._PING_SECONDS", 1)
    monkeypatch.setattr("opsagent_queue.subscription._REFUSED_SECONDS", 0.05)
    with blocking.Redis.from_url(redis_url) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "half", "on", ">word", "+@all", "resetchannels", "&mine:*"
        )
        client = connect(redis_url.replace("redis://", "redis://half:word@"))
        async with Subscription(client, ["mine:1", "theirs:1"]) as subscription:
            assert await next_of(subscription) == Subscribed()
            subscription.add("theirs:2", "mine:2")
            assert await next_of(subscription) == Subscribed(("mine:2",))
            admin.publish("mine:1", "here")
            assert await next_of(subscription) == Message("mine:1", "here")
            told = [record.getMessage() for record in caplog.records]
            assert [text.partition(":")[0] for text in told] == [
                "Redis does not let us listen on theirs",
                "Redis does not let us listen on theirs",
            ]
            admin.execute_command("ACL", "SETUSER", "half", "&theirs:*")
            assert await next_of(subscription) == Subscribed(("theirs:1", "theirs:2"))
        await client.aclose()
        admin.acl_deluser("half")
    assert len(caplog.records) == len(told)


async def test_a_refused_channel_is_asked_for_again_however_much_others_tell(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsagent_queue.subscription._REFUSED_SECONDS", 0.05)
    with blocking.Redis.from_url(redis_url) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "half", "on", ">word", "+@all", "resetchannels", "&mine"
        )
        client = connect(redis_url.replace("redis://", "redis://half:word@"))
        async with Subscription(client, ["mine", "theirs"]) as subscription:
            assert await next_of(subscription) == Subscribed()
            admin.execute_command("ACL", "SETUSER", "half", "&theirs")
            async with asyncio.timeout(10):
                while True:
                    admin.publish("mine", "again")
                    event = await anext(subscription)
                    if isinstance(event, Subscribed):
                        break
            assert event == Subscribed(("theirs",))
        await client.aclose()
        admin.acl_deluser("half")


async def test_many_messages_arrive_in_order_while_channels_come_and_go(client: Redis) -> None:
    async with Subscription(client, ["a"]) as subscription:
        await next_of(subscription)
        async with client.pipeline(transaction=False) as pipe:
            for number in range(2000):
                await pipe.publish("a", str(number))
            await pipe.execute()
        found: list[int] = []
        while len(found) < 2000:
            subscription.add(f"b{len(found)}")
            event = await next_of(subscription)
            if isinstance(event, Message):
                found.append(int(event.text))
        assert found == list(range(2000))
