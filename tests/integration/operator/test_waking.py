"""Who is woken when tasks are announced, how often, and over how many connections."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis
from structlog.testing import capture_logs

from fixtures.redis import RedisServer
from integration.operator.observer import Observer, Woken, worker
from opsagent_operator.model.observed import QueueState, Unreachable
from opsagent_operator.observe.audience import SPACING_AT_MOST
from opsagent_operator.observe.cluster import Key
from opsagent_queue import Event, Task, TaskQueue, connect, score

pytestmark = pytest.mark.integration


@pytest.fixture
def other_redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "other"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


def queue_of(client: Redis, name: str = "ops-agent", prefix: str = "orchestrator") -> TaskQueue:
    return TaskQueue(client, worker=f"shop/{name}", prefix=prefix)


def task(agent: str | None = "ops") -> Task:
    return Task.new(type="monitor", payload={"url": "http://x"}, assigned_to=agent)


async def produce(client: Redis, *tasks: Task) -> None:
    """Add tasks as the orchestrator does, as fast as Redis takes them."""
    for first in range(0, len(tasks), 500):
        async with client.pipeline(transaction=False) as pipe:
            for one in tasks[first : first + 500]:
                for command in (
                    ("HSET", f"orchestrator:task:{one.task_id}", "data", one.encode()),
                    ("ZADD", "orchestrator:tasks", score(one.priority), one.task_id),
                    ("PUBLISH", "orchestrator:events:task.created", Event.created(one).encode()),
                ):
                    pipe.execute_command(*command)
            await pipe.execute()


async def connections(client: Redis) -> int:
    """How many the operator has."""
    return sum(one["name"] == "opsagent-operator" for one in await client.client_list())


def known(found: list[QueueState | Unreachable]) -> list[QueueState]:
    states = [one for one in found if isinstance(one, QueueState)]
    assert len(states) == len(found), found
    return states


async def test_a_new_task_wakes_its_object(observer: Observer, client: Redis) -> None:
    await observer.follow(worker())
    await queue_of(client).enqueue(task())
    await observer.until_woken(lambda woken: woken == [Woken("ops-agent", announced=True)])


async def test_a_first_subscription_wakes_too_as_nobody_knows_what_was_announced_before(
    observer: Observer,
) -> None:
    await observer.visit(worker("a"))
    await observer.until_woken(lambda woken: woken == [Woken("a", announced=False)])
    await observer.visit(worker("a"), worker("b", prefix="other"))
    await observer.until_woken(lambda woken: woken[1:] == [Woken("b", announced=False)])


@pytest.mark.parametrize(
    ("agent", "woken"),
    [
        ("ops", {"ours", "all"}),
        ("dev", {"theirs", "all"}),
        ("faq", {"all"}),
        (None, {"all"}),
    ],
)
async def test_only_those_who_take_a_task_are_woken(
    observer: Observer, client: Redis, agent: str | None, woken: set[str]
) -> None:
    await observer.follow(
        worker("ours", agents=("ops", "ops_agent")),
        worker("theirs", agents=("dev",)),
        worker("all", agents=()),
        worker("elsewhere", agents=(), prefix="other"),
    )
    await queue_of(client).enqueue(task(agent))
    await queue_of(client, prefix="other").enqueue(task(agent))
    await observer.until_woken(lambda found: Woken("elsewhere", announced=True) in found)
    await observer.until_woken(lambda found: {one.name for one in found} == {*woken, "elsewhere"})


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"payload": {}}', '{"payload": 3}'])
async def test_an_announcement_that_nobody_can_read_wakes_all(
    observer: Observer, client: Redis, text: str
) -> None:
    await observer.follow(worker("ours"), worker("theirs", agents=("dev",)))
    await client.publish("orchestrator:events:task.created", text)
    await observer.until_woken(lambda found: {one.name for one in found} == {"ours", "theirs"})


async def test_ten_thousand_tasks_cause_few_visits_and_none_is_missed(
    observer: Observer, client: Redis
) -> None:
    await observer.follow(worker())
    tasks, loop = 10_000, asyncio.get_running_loop()
    began, wakes = loop.time(), 0

    async def visit_whenever_woken() -> None:
        nonlocal wakes
        pending = 0
        while pending < tasks:
            await observer.until_woken(lambda woken: len(woken) > wakes)  # noqa: B023 - at once
            wakes = len(observer.woken)
            (state,) = known(await observer.visit(worker()))
            pending = state.pending

    await asyncio.gather(visit_whenever_woken(), produce(client, *(task() for _ in range(tasks))))
    assert Woken("ops-agent", announced=True) in observer.woken
    # The first ones come sooner, and one may be for the completed index.
    assert wakes <= 4 + (loop.time() - began) / SPACING_AT_MOST


async def test_fifty_objects_need_three_connections(observer: Observer, client: Redis) -> None:
    workers = [worker(f"w{number}", prefix=f"p{number % 7}") for number in range(50)]
    await observer.follow(*workers)
    for _ in range(3):
        known(await observer.visit(*workers))
        assert await connections(client) <= 3


async def test_a_wrong_queue_does_not_disturb_those_that_are_read_with_it(
    observer: Observer, client: Redis
) -> None:
    await client.set("wrong:tasks", "x")
    workers = [worker(f"w{number}") for number in range(20)]
    await queue_of(client).enqueue(task())
    found = await observer.visit(*workers[:10], worker("bad", prefix="wrong"), *workers[10:])
    bad = found.pop(10)
    assert isinstance(bad, Unreachable)
    assert (bad.reason, "wrong:tasks" in bad.message) == ("WrongType", True)
    assert [state.pending for state in known(found)] == [1] * 20
    await client.script_flush()  # as after a restart: none of the scripts is known
    assert len(known(await observer.visit(*workers))) == 20


async def test_visits_at_the_same_moment_share_a_round_trip(
    observer: Observer, redis_server: RedisServer
) -> None:
    workers = [worker(f"w{number}") for number in range(50)]
    await observer.follow(*workers)
    with redis.Redis(port=redis_server.port) as admin:
        before = admin.info("stats")["total_reads_processed"]
        known(await observer.visit(*workers))
        assert admin.info("stats")["total_reads_processed"] - before < 10


async def test_after_a_crash_of_redis_all_are_visited_and_woken_again(
    observer: Observer, redis_server: RedisServer
) -> None:
    names = {f"w{number}" for number in range(30)}
    await observer.follow(*map(worker, names))
    redis_server.kill()
    redis_server.start()
    await observer.until_woken(lambda woken: {one.name for one in woken} == names)
    assert not any(one.announced for one in observer.woken)
    observer.woken.clear()
    client = connect(redis_server.url)
    await queue_of(client).enqueue(task())
    await observer.until_woken(lambda woken: {one.name for one in woken} == names)
    assert all(one.announced for one in observer.woken)
    await client.aclose()


async def test_a_failure_is_forgotten_when_the_subscription_is_made_again(
    observer: Observer, redis_server: RedisServer
) -> None:
    await observer.follow(worker())
    redis_server.kill()
    for _ in range(5):
        await observer.reason()
    redis_server.start()
    await observer.until_woken(lambda woken: len(woken) > 0)
    known(await observer.visit(worker()))


async def test_a_frozen_redis_holds_up_nobody_else(
    observer: Observer,
    redis_server: RedisServer,
    other_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opsagent_operator.observe.redis_pools.COMMAND_TIMEOUT", 1.0)
    observer.secrets["other"] = {"REDIS_URL": other_redis.url}
    frozen = [worker(f"w{number}") for number in range(20)]
    await observer.follow(*frozen, worker("well", secret="other"))
    redis_server.freeze()
    try:
        waiting = asyncio.ensure_future(observer.visit(*frozen))
        known(await observer.visit(worker("well", secret="other")))
        assert not waiting.done()
        assert {one.reason for one in await waiting if isinstance(one, Unreachable)} == {"TimedOut"}
    finally:
        redis_server.thaw()
    observer.woken.clear()
    # Whoever finds that it answers again wakes all who could not know.
    while isinstance((await observer.visit(frozen[0]))[0], Unreachable):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await observer.until_woken(
        lambda woken: {one.name for one in woken} == {one.name for one in frozen}
    )


async def test_a_changed_prefix_is_followed(observer: Observer, client: Redis) -> None:
    await observer.follow(worker(prefix="before"))
    await observer.follow(worker(prefix="after"))
    await queue_of(client, prefix="before").enqueue(task())
    await queue_of(client, prefix="after").enqueue(task())
    await observer.until_woken(lambda woken: woken == [Woken("ops-agent", announced=True)])
    assert await client.pubsub_numsub(
        "before:events:task.created", "after:events:task.created"
    ) == [("before:events:task.created", 0), ("after:events:task.created", 1)]


async def test_changed_agents_are_followed(observer: Observer, client: Redis) -> None:
    await observer.follow(worker("fixed", agents=("dev",)), worker())
    await observer.visit(worker(agents=("faq",)))
    await queue_of(client).enqueue(task("ops"))
    await queue_of(client).enqueue(task("dev"))
    await queue_of(client).enqueue(task("faq"))
    await observer.until_woken(
        lambda woken: [one.name for one in woken].count("ops-agent") == 1 and len(woken) == 2
    )


async def test_a_secret_that_names_another_redis_is_followed(
    observer: Observer, client: Redis, other_redis: RedisServer
) -> None:
    await observer.follow(worker())
    observer.secrets["redis"] = {"REDIS_URL": other_redis.url}
    observer.queues._secrets.forget(Key("shop", "redis"))  # noqa: SLF001 - a minute passes
    await observer.follow(worker())
    await queue_of(client).enqueue(task())
    other = connect(other_redis.url)
    await queue_of(other).enqueue(task())
    await observer.until_woken(lambda woken: woken == [Woken("ops-agent", announced=True)])
    await other.aclose()
    await observer.pools.close_unused(seconds=0)
    assert len(observer.pools) == 1
    async with asyncio.timeout(20):
        while await connections(client):
            pass


async def test_an_object_that_is_gone_is_woken_no_more(observer: Observer, client: Redis) -> None:
    await observer.follow(worker("stays"), worker("goes"), worker("last", prefix="other"))
    observer.queues.forget(Key("shop", "goes"))
    observer.queues.forget(Key("shop", "last"))
    observer.queues.forget(Key("shop", "never-seen"))
    await queue_of(client, prefix="other").enqueue(task())
    await queue_of(client).enqueue(task())
    await observer.until_woken(lambda woken: woken == [Woken("stays", announced=True)])
    observer.queues.forget(Key("shop", "stays"))
    await observer.pools.close_unused(seconds=0)
    assert len(observer.pools) == 0


async def test_a_fault_of_ours_does_not_make_the_listener_deaf(
    observer: Observer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await observer.follow(worker())
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("opsagent_operator.observe.listener.FAULT_PAUSE", 0.0)
        patched.setattr("opsagent_operator.observe.listener.Announcement", None)
        await queue_of(client).enqueue(task())
        async with asyncio.timeout(20):
            while not any(one["log_level"] == "error" for one in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await queue_of(client).enqueue(task())
    await observer.until_woken(lambda woken: woken == [Woken("ops-agent", announced=True)])


async def test_a_long_queue_without_workers_is_counted_exactly_in_the_end(
    observer: Observer, client: Redis
) -> None:
    tasks = 12_000
    await produce(client, *(task("ops" if number % 3 else "dev") for number in range(tasks)))
    await observer.follow(worker())
    while (state := known(await observer.visit(worker()))[0]).estimated:
        await observer.until_woken(lambda woken: len(woken) > 0)
    assert (state.pending, state.foreign) == (8_000, 4_000)
    async with asyncio.timeout(20):
        while (await queue_of(client).snapshot()).unknown:
            pass
