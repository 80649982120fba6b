"""The depth of queues that other systems keep, read from a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from fixtures.redis import RedisServer
from opsagent_queue import (
    ConfigurationError,
    PlainDepth,
    PlainQueue,
    QueueRefusedError,
    QueueUnavailableError,
    connect,
)
from opsagent_queue.scripts import load

pytestmark = pytest.mark.integration

MINUTE_MS = 60_000
GROUP = "workers"


async def read(client: Redis, kind: Any, **options: str) -> PlainDepth:
    return await PlainQueue(client, kind, "q", **options).read()


async def now_ms(client: Redis) -> int:
    seconds, us = await client.time()
    return int(seconds) * 1000 + int(us) // 1000


# Lists.


async def test_every_item_of_a_list_waits(client: Redis) -> None:
    await client.rpush("q", "a", "b", "c")
    depth = await read(client, "List")
    assert (depth.waiting, depth.delayed, depth.in_flight) == (3, 0, None)
    assert depth.oldest_ms is None


@pytest.mark.parametrize("kind", ["List", "SortedSet", "Stream"])
async def test_a_key_that_does_not_exist_is_empty(client: Redis, kind: Any) -> None:
    options = {"group": GROUP} if kind == "Stream" else {"in_flight_key": "busy"}
    depth = await read(client, kind, **options)
    assert (depth.waiting, depth.delayed, depth.in_flight) == (0, 0, 0)


# Sorted sets.


async def test_members_of_a_sorted_set_wait_once_their_time_has_come(client: Redis) -> None:
    now = await now_ms(client)
    later = {"in a minute": now + MINUTE_MS, "in an hour": now + 60 * MINUTE_MS}
    await client.zadd("q", {"old": now - MINUTE_MS, "just": now, **later})
    depth = await PlainQueue(client, "SortedSet", "q").read(soon_ms=2 * MINUTE_MS)
    assert (depth.waiting, depth.delayed, depth.soon) == (2, 2, 1)
    assert depth.next_due_ms is not None
    assert 0 < depth.next_due_ms <= MINUTE_MS


@pytest.mark.parametrize("score", [float("-inf"), -5, 0, 3, 255, 1_700_000_000])
async def test_a_score_that_is_a_priority_or_a_time_in_seconds_waits(
    client: Redis, score: float
) -> None:
    await client.zadd("q", {"a": score})
    depth = await read(client, "SortedSet")
    assert (depth.waiting, depth.delayed, depth.next_due_ms) == (1, 0, None)


@pytest.mark.parametrize("score", [7_355_398_321_963_008, 1e300, float("inf")])
async def test_a_score_beyond_all_times_is_never_due(client: Redis, score: float) -> None:
    await client.zadd("q", {"a": score})
    depth = await read(client, "SortedSet")
    assert (depth.waiting, depth.delayed) == (0, 1)
    assert depth.next_due_ms == 366 * 24 * 60 * MINUTE_MS


# Streams.


async def add(client: Redis, count: int) -> list[str]:
    return [str(await client.xadd("q", {"n": str(number)})) for number in range(count)]


async def test_entries_wait_until_given_and_are_in_flight_until_acknowledged(
    client: Redis,
) -> None:
    await client.xgroup_create("q", GROUP, id="0", mkstream=True)
    ids = await add(client, 5)
    await client.xreadgroup(GROUP, "pod-1", {"q": ">"}, count=3)
    await client.xack("q", GROUP, ids[0])
    depth = await read(client, "Stream", group=GROUP)
    assert (depth.waiting, depth.in_flight, depth.estimated) == (2, 2, False)
    assert depth.oldest_ms is not None
    assert depth.oldest_ms == depth.time_ms - int(ids[3].partition("-")[0])


async def test_of_several_groups_the_named_one_counts(client: Redis) -> None:
    for name in ("others", GROUP, "more"):
        await client.xgroup_create("q", name, id="0", mkstream=True)
    await add(client, 4)
    await client.xreadgroup(GROUP, "pod-1", {"q": ">"}, count=1)
    await client.xreadgroup("others", "x", {"q": ">"}, count=4)
    depth = await read(client, "Stream", group=GROUP)
    assert (depth.waiting, depth.in_flight) == (3, 1)


async def test_all_entries_wait_for_a_group_that_nobody_has_made(client: Redis) -> None:
    await add(client, 3)
    depth = await read(client, "Stream", group=GROUP)
    assert (depth.waiting, depth.in_flight) == (3, 0)
    assert depth.oldest_ms is not None


async def test_what_a_stream_forgot_does_not_wait(client: Redis) -> None:
    """Acknowledged and trimmed entries; a hole makes Redis lose the lag, and the entries are counted."""
    await client.xgroup_create("q", GROUP, id="0", mkstream=True)
    ids = await add(client, 6)
    await client.xreadgroup(GROUP, "pod-1", {"q": ">"}, count=2)
    await client.xack("q", GROUP, *ids[:2])
    await client.xdel("q", ids[4])
    (group,) = await client.xinfo_groups("q")
    assert group.get("lag") is None
    depth = await read(client, "Stream", group=GROUP)
    assert (depth.waiting, depth.in_flight, depth.estimated) == (3, 0, False)


async def test_a_thousand_entries_are_counted_where_the_lag_is_not_told(client: Redis) -> None:
    ids = await add(client, 1003)
    await client.xgroup_create("q", GROUP, id="0")
    await client.xdel("q", ids[1])
    depth = await read(client, "Stream", group=GROUP)
    assert (depth.waiting, depth.estimated) == (1000, True)


async def test_chosen_ids_tell_no_age(client: Redis) -> None:
    await client.xadd("q", {"n": "1"}, id="7-1")
    assert (await read(client, "Stream", group=GROUP)).oldest_ms is None


# What is being worked on.


async def fill_list(client: Redis) -> None:
    await client.rpush("busy", "a", "b")


async def fill_set(client: Redis) -> None:
    await client.sadd("busy", "a", "b")


async def fill_sorted_set(client: Redis) -> None:
    await client.zadd("busy", {"a": 1, "b": 2})


async def fill_hash(client: Redis) -> None:
    await client.hset("busy", mapping={"a": "1", "b": "2"})


async def fill_stream(client: Redis) -> None:
    await client.xadd("busy", {"a": "1"})
    await client.xadd("busy", {"a": "1"})


@pytest.mark.parametrize(
    "fill", [fill_list, fill_set, fill_sorted_set, fill_hash, fill_stream], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("kind", ["List", "SortedSet"])
async def test_what_is_in_flight_is_the_size_of_any_collection(
    client: Redis, kind: Any, fill: Callable[[Redis], Awaitable[None]]
) -> None:
    await fill(client)
    assert (await read(client, kind, in_flight_key="busy")).in_flight == 2


# Keys of other types.


@pytest.mark.parametrize(
    ("kind", "expected"), [("List", "list"), ("SortedSet", "sorted set"), ("Stream", "stream")]
)
async def test_a_key_of_another_type_is_named(client: Redis, kind: Any, expected: str) -> None:
    await client.hset("q", "a", "1")
    options = {"group": GROUP} if kind == "Stream" else {}
    with pytest.raises(QueueRefusedError, match=f"key q is a hash and not a {expected}") as refusal:
        await read(client, kind, **options)
    assert refusal.value.code == "WRONGTYPE"


async def test_a_counter_is_no_collection_of_what_is_in_flight(client: Redis) -> None:
    await client.set("busy", "3")
    expected = "key busy is a string and not a list, set, sorted set, hash or stream"
    with pytest.raises(QueueRefusedError, match=expected):
        await read(client, "List", in_flight_key="busy")


# The server.


async def test_the_server_tells_who_it_is(client: Redis) -> None:
    depth = await read(client, "List")
    info = await client.info("server")
    assert (depth.run_id, depth.role) == (info["run_id"], "master")


async def test_a_server_that_may_not_be_asked_who_it_is_is_read_all_the_same(
    client: Redis, redis_url: str
) -> None:
    await client.rpush("q", "a")
    rules = ("reset", "on", ">word", "~q", "+evalsha", "+eval", "+time", "+type", "+llen")
    await client.execute_command("ACL", "SETUSER", "limited", *rules, "+client|setname", "+ping")  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    async with connect(redis_url.replace("redis://", "redis://limited:word@")) as limited:
        depth = await read(limited, "List")
    assert (depth.waiting, depth.run_id, depth.role) == (1, None, None)


async def test_an_empty_queue_after_a_restart_is_told_by_another_run(
    redis_server: RedisServer,
) -> None:
    async with connect(redis_server.url) as client:
        before = await read(client, "List")
        await asyncio.to_thread(redis_server.restart)
        after = await read(client, "List")
    assert before.run_id != after.run_id


async def test_a_server_that_is_gone_is_no_empty_queue(redis_server: RedisServer) -> None:
    async with connect(redis_server.url) as client:
        await read(client, "List")
        await asyncio.to_thread(redis_server.kill)
        with pytest.raises(QueueUnavailableError):
            await read(client, "List")


@pytest.mark.redis7
@pytest.mark.parametrize("kind", ["List", "SortedSet", "Stream"])
async def test_reading_changes_nothing_and_may_run_on_a_replica(client: Redis, kind: Any) -> None:
    """Redis itself keeps a script under EVAL_RO from writing."""
    match kind:
        case "List":
            await client.rpush("q", "a")
        case "SortedSet":
            await client.zadd("q", {"a": 1})
        case "Stream":
            await add(client, 1)
            await client.xgroup_create("q", GROUP, id="0")
    reply = await client.eval_ro(load("plain").text, 2, "q", "busy", kind, GROUP, "0")
    assert reply[:2] == ["waiting", 1]


# Combinations that make no sense.


@pytest.mark.parametrize("kind", ["List", "SortedSet"])
async def test_only_streams_have_groups(client: Redis, kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="group"):
        PlainQueue(client, kind, "q", group=GROUP)


async def test_a_stream_needs_a_group(client: Redis) -> None:
    with pytest.raises(ConfigurationError, match="group"):
        PlainQueue(client, "Stream", "q")


async def test_a_stream_has_no_other_key_of_what_is_in_flight(client: Redis) -> None:
    with pytest.raises(ConfigurationError, match="in flight"):
        PlainQueue(client, "Stream", "q", group=GROUP, in_flight_key="busy")
