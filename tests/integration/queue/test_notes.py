"""Notes that workers of one queue share."""

import asyncio

import pytest
from redis.asyncio import Redis

from opsagent_queue import TaskQueue

pytestmark = pytest.mark.integration


async def test_a_note_is_there_until_it_is_forgotten(queue: TaskQueue) -> None:
    notes = queue.notes()
    assert await notes.get("one") is None

    await notes.put("one", "text", ttl_ms=60_000)
    assert await notes.get("one") == "text"

    await notes.forget("one")
    assert await notes.get("one") is None


async def test_of_many_who_put_the_same_note_one_succeeds(queue: TaskQueue) -> None:
    notes = queue.notes()

    won = await asyncio.gather(
        *(notes.put_if_absent("claim", str(number), ttl_ms=60_000) for number in range(20))
    )

    assert won.count(True) == 1
    assert await notes.get("claim") == str(won.index(True))


async def test_of_many_who_exchange_a_note_each_sees_another_predecessor(queue: TaskQueue) -> None:
    notes = queue.notes()

    before = await asyncio.gather(
        *(notes.exchange("state", str(number), ttl_ms=60_000) for number in range(20))
    )

    assert len(set(before)) == 20
    assert None in before


async def test_every_way_of_putting_a_note_makes_it_end(queue: TaskQueue, client: Redis) -> None:
    notes = queue.notes()
    await notes.put("put", "text", ttl_ms=60_000)
    await notes.put_if_absent("absent", "text", ttl_ms=60_000)
    await notes.exchange("exchange", "text", ttl_ms=60_000)

    keys = [queue.keys.own(f"note:{name}") for name in ("put", "absent", "exchange")]
    assert all([0 < await client.pttl(key) <= 60_000 for key in keys])


async def test_queues_do_not_share_notes(queue: TaskQueue, client: Redis) -> None:
    await queue.notes().put("one", "text", ttl_ms=60_000)

    assert await TaskQueue(client, worker="other/worker").notes().get("one") is None
