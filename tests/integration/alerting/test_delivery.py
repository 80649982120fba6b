"""Who sends when several want to say the same, on a real Redis."""

import asyncio

import pytest
import structlog
from redis.asyncio import Redis

from doubles.channel import FakeChannel
from fixtures.redis import RedisServer
from integration.worker.harness import eventually
from opsagent_queue import Notes, TaskQueue, connect
from opsagent_worker.alerting.delivery import Deduplicated, Delivery, NotSent, Sent
from opsagent_worker.alerting.notification import Action, Notification, Severity
from opsagent_worker.errors import RetryableError

pytestmark = pytest.mark.integration


@pytest.fixture
def delivery(notes: Notes) -> Delivery:
    return Delivery(notes, 300.0, structlog.get_logger())


def told_by(task_id: str, *, action: Action = "trigger", key: str = "disk") -> Notification:
    return Notification(
        alert_type="disk",
        severity=Severity.HIGH,
        message="full",
        action=action,
        dedup_key=key,
        source="web-1",
        details={},
        task_id=task_id,
    )


async def test_the_first_sends_and_others_say_who_did(delivery: Delivery) -> None:
    channel = FakeChannel()

    assert await delivery.deliver(channel, told_by("one")) == Sent()
    assert await delivery.deliver(channel, told_by("two")) == Deduplicated("one")
    assert await delivery.deliver(channel, told_by("one")) == Sent(earlier=True)
    assert await delivery.deliver(channel, told_by("two", key="cpu")) == Sent()
    assert len(channel.sent) == 2


async def test_whoever_comes_while_another_sends_waits_for_the_outcome(delivery: Delivery) -> None:
    channel = FakeChannel()
    channel.may_end.clear()
    first = asyncio.create_task(delivery.deliver(channel, told_by("one")))
    await channel.started.wait()
    second = asyncio.create_task(delivery.deliver(channel, told_by("two")))
    _, waiting = await asyncio.wait([second], timeout=0.05)
    assert waiting == {second}

    channel.may_end.set()

    assert await first == Sent()
    assert await second == Deduplicated("one")


async def test_whoever_waited_sends_if_the_other_could_not(delivery: Delivery) -> None:
    failing, working = FakeChannel(error=RetryableError("down")), FakeChannel()
    failing.may_end.clear()
    first = asyncio.create_task(delivery.deliver(failing, told_by("one")))
    await failing.started.wait()
    second = asyncio.create_task(delivery.deliver(working, told_by("two")))

    failing.may_end.set()

    assert isinstance(await first, NotSent)
    assert await second == Sent()
    assert await delivery.deliver(working, told_by("one")) == Deduplicated("two")


async def test_an_attempt_that_was_cut_off_while_sending_is_repeated_by_the_next(
    delivery: Delivery,
) -> None:
    channel = FakeChannel()
    channel.may_end.clear()
    cut_off = asyncio.create_task(delivery.deliver(channel, told_by("one")))
    await channel.started.wait()
    cut_off.cancel()
    await asyncio.wait([cut_off])

    channel.may_end.set()

    assert await delivery.deliver(channel, told_by("one")) == Sent()
    assert len(channel.sent) == 1


async def test_a_claim_outlives_the_wait_for_a_turn_and_the_longest_request(
    delivery: Delivery, client: Redis
) -> None:
    channel = FakeChannel(wait=0.01)
    channel.may_end.clear()
    sending = asyncio.create_task(delivery.deliver(channel, told_by("one")))
    await channel.started.wait()

    (key,) = [key async for key in client.scan_iter("*:note:alert:slack:*")]
    assert await client.pttl(key) > 60_000

    channel.may_end.set()
    assert await sending == Sent()


async def test_after_the_window_it_is_sent_again(notes: Notes) -> None:
    channel = FakeChannel()
    short = Delivery(notes, 0.05, structlog.get_logger())
    assert await short.deliver(channel, told_by("one")) == Sent()

    async def sent_again() -> bool:
        return await short.deliver(channel, told_by("two")) == Sent()

    await eventually(sent_again, what="the window has ended")
    assert len(channel.sent) == 2


async def test_without_a_window_each_task_sends_once(notes: Notes) -> None:
    channel = FakeChannel()
    always = Delivery(notes, 0.0, structlog.get_logger())

    assert await always.deliver(channel, told_by("one")) == Sent()
    assert await always.deliver(channel, told_by("two")) == Sent()
    assert await always.deliver(channel, told_by("one")) == Sent(earlier=True)


async def test_what_was_resolved_is_news_when_it_is_triggered_again(delivery: Delivery) -> None:
    channel = FakeChannel()

    assert await delivery.deliver(channel, told_by("one")) == Sent()
    assert await delivery.deliver(channel, told_by("two", action="resolve")) == Sent()
    assert await delivery.deliver(channel, told_by("three")) == Sent()
    assert await delivery.deliver(channel, told_by("four", action="resolve")) == Sent()


async def test_without_redis_it_is_sent_rather_twice_than_not_at_all(
    redis_server: RedisServer,
) -> None:
    channel = FakeChannel()
    async with connect(redis_server.url, socket_timeout=0.2) as redis:
        redis_server.stop()
        notes = TaskQueue(redis, worker="prod/ops-agent").notes()
        delivery = Delivery(notes, 300.0, structlog.get_logger())
        outcome = await delivery.deliver(channel, told_by("one"))
    redis_server.start()

    assert outcome == Sent()
    assert len(channel.sent) == 1
