"""What a snapshot tells of queues that are too large to be looked at one by one, and what that costs Redis."""

from dataclasses import dataclass
from typing import Final

import pytest
from redis.asyncio import Redis

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Snapshot, Task, TaskQueue
from opsagent_queue.wire import score

pytestmark = pytest.mark.integration

# Makes `count` records from a sample, without a round trip for each. Their ids are as good as random, as
# those of the orchestrator, or else sort in the order in which they are made.
_PLANT: Final = """
local tasks, record, sample, sample_id, score, first, step, count, random = unpack(ARGV)
for number = first, first + step * (count - 1), step do
  local id = string.format('%07d', number)
  if random == '1' then id = redis.sha1hex(id) end
  local data = string.gsub(sample, sample_id, id, 1)
  redis.call('HSET', record .. id, 'data', data, 'status', 'pending')
  redis.call('ZADD', tasks, score, id)
end
"""

DEVIATIONS: Final = 5
"""Standard deviations that an estimate may be off: by chance it is off by more once in two million times."""

SAMPLE: Final = 400


@dataclass(frozen=True)
class Mix:
    """Tasks of several kinds."""

    ours: tuple[int, ...]
    """How many of each type: monitor, deploy, alert."""
    foreign: int


async def plant(
    bench: Bench, task: Task, count: int, *, first: int = 0, step: int = 1, random: bool = True
) -> None:
    keys = bench.queue.keys
    record = keys.record("")
    for done in range(0, count, 10_000):
        await bench.client.eval(
            _PLANT,
            0,
            keys.tasks,
            record,
            task.encode(),
            task.task_id,
            score(task.priority),
            first + done * step,
            step,
            min(10_000, count - done),
            int(random),
        )


async def plant_mix(bench: Bench, mix: Mix) -> None:
    """In all priorities, and half as many of ours delayed as there are deploys."""
    first = 0
    kinds = zip((*mix.ours, mix.foreign), ("monitor", "deploy", "alert", "faq"), strict=True)
    for count, kind in kinds:
        for number, priority in enumerate(("P0", "P1", "P2", "P3")):
            part = count // 4 + (number < count % 4)
            agent = "faq" if kind == "faq" else "ops"
            task = bench.task(type=kind, priority=priority, assigned_to=agent)
            await plant(bench, task, part, first=first)
            first += part
    now = (await bench.queue.snapshot()).time_ms
    delayed = {f"delayed-{number}": now + LONG_MS for number in range(mix.ours[1] // 2)}
    if delayed:
        await bench.client.zadd(bench.queue.keys.own("delayed"), delayed)


async def complete(queue: TaskQueue) -> int:
    """Complete the index; returns how many steps that took."""
    steps = 1
    while await queue.index():
        steps += 1
    return steps


def off_by(snapshot: Snapshot, mix: Mix) -> float:
    """How far the larger of both errors is, as a share of all that wait."""
    waiting = sum(mix.ours) + mix.foreign
    pending = abs(snapshot.pending - sum(mix.ours))
    return max(pending, abs(snapshot.foreign - mix.foreign)) / waiting


async def records_read(client: Redis) -> int:
    """How many records of tasks have been read so far."""
    statistics = await client.info("commandstats")
    return int(statistics.get("cmdstat_hmget", {"calls": 0})["calls"])


@pytest.mark.parametrize(
    "mix",
    [
        Mix((2501, 2000, 499), 5000),
        Mix((150, 40, 11), 9799),
        Mix((0, 1, 0), 9999),
        Mix((9000, 900, 100), 0),
        Mix((100, 50, 51), 0),
    ],
)
async def test_up_to_ten_thousand_tasks_are_counted_exactly_once_they_are_known(
    bench: Bench, mix: Mix
) -> None:
    await plant_mix(bench, mix)
    await complete(bench.queue)
    snapshot = await bench.queue.snapshot(soon_ms=2 * LONG_MS)
    kinds = zip(("monitor", "deploy", "alert"), mix.ours, strict=True)
    assert snapshot.pending_by_type == {kind: number for kind, number in kinds if number}
    assert (snapshot.pending, snapshot.foreign) == (sum(mix.ours), mix.foreign)
    assert snapshot.delayed == snapshot.soon == mix.ours[1] // 2
    assert (snapshot.unknown, snapshot.estimated) == (0, False)


async def test_a_hundred_thousand_tasks_are_counted_within_one_percent(bench: Bench) -> None:
    mix = Mix((30_000, 15_000, 5_000), 50_000)
    await plant_mix(bench, mix)
    before = await bench.queue.snapshot()
    assert (before.estimated, before.unknown) == (True, 100_000)
    assert off_by(before, mix) < DEVIATIONS * 0.5 / SAMPLE**0.5

    assert await complete(bench.queue) <= 100_000 // 448 + 1
    known = await bench.queue.snapshot()
    assert off_by(known, mix) == 0
    assert (known.unknown, known.estimated) == (0, False)

    # New ones that nobody has looked at are few, or the snapshot says that it guesses.
    await plant(bench, bench.task(type="monitor"), 900, first=200_000)
    new = await bench.queue.snapshot()
    assert off_by(new, Mix((30_900, 15_000, 5_000), 50_000)) < 0.01
    assert (new.unknown, new.estimated) == (900, False)


@pytest.mark.parametrize("every", [2, 3, 4, 5, 10, 25, 100])
async def test_tasks_that_take_turns_in_the_queue_do_not_deceive_an_estimate(
    bench: Bench, every: int
) -> None:
    """One in `every` is ours; a look at each tenth or hundredth would find all of them, or none."""
    waiting, share = 10_000, 1 / every
    await plant(bench, bench.task(assigned_to="faq"), waiting, random=False)
    # In the place of some of them.
    await plant(bench, bench.task(), waiting // every, step=every, random=False)
    snapshot = await bench.queue.snapshot()
    deviation = (share * (1 - share) / SAMPLE) ** 0.5
    assert snapshot.estimated
    assert abs(snapshot.pending / waiting - share) < DEVIATIONS * deviation
    assert abs(snapshot.pending + snapshot.foreign - waiting) <= 1


async def test_the_more_is_known_the_less_is_guessed(bench: Bench) -> None:
    mix = Mix((2000, 1000, 1000), 6000)
    await plant_mix(bench, mix)
    while (await bench.queue.snapshot()).estimated:
        snapshot = await bench.queue.snapshot()
        waiting = sum(mix.ours) + mix.foreign
        # Of the sample only those say anything that are unknown.
        error = 0.5 * (snapshot.unknown / waiting / SAMPLE) ** 0.5
        assert off_by(snapshot, mix) < DEVIATIONS * error + 1 / waiting
        await bench.queue.index()
    assert off_by(await bench.queue.snapshot(), mix) < 0.01


async def test_an_estimate_does_not_waver(bench: Bench) -> None:
    await plant_mix(bench, Mix((2000, 0, 0), 3000))
    first, second = [await bench.queue.snapshot() for _ in range(2)]
    assert (first.pending, first.foreign) == (second.pending, second.foreign)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "mix", [Mix((5000, 0, 0), 5000), Mix((400, 0, 0), 9600), Mix((390, 0, 0), 2000)]
)
async def test_a_snapshot_reads_no_more_than_four_hundred_records(
    bench: Bench, mix: Mix, known: bool
) -> None:
    await plant_mix(bench, mix)
    if known:
        await complete(bench.queue)
        await plant(bench, bench.task(type="monitor"), 5000, first=100_000)
    before = await records_read(bench.client)
    await bench.queue.snapshot()
    assert await records_read(bench.client) - before <= SAMPLE


async def test_an_index_step_reads_no_more_than_five_hundred_records_and_some(bench: Bench) -> None:
    await plant_mix(bench, Mix((1000, 0, 0), 1000))
    before = await records_read(bench.client)
    await bench.queue.index()
    # And who holds what, and what is to be done next.
    assert await records_read(bench.client) - before <= 512 + 2


async def test_what_other_agents_took_hides_nothing_new_of_a_large_queue(bench: Bench) -> None:
    """As many left as arrived: by their number alone nothing would seem unknown."""
    await plant(bench, bench.task(assigned_to="faq", priority="P0"), 1000)
    await plant(bench, bench.task(), 1000, first=1000)
    await complete(bench.queue)
    await bench.client.zpopmin(bench.queue.keys.tasks, 300)
    await plant(bench, bench.task(priority="P3"), 300, first=2000)
    snapshot = await bench.queue.snapshot()
    assert (snapshot.unknown, snapshot.estimated) == (300, True)
    assert abs(snapshot.pending - 1300) <= 1
    assert abs(snapshot.foreign - 700) <= 1
    await complete(bench.queue)
    after = await bench.queue.snapshot()
    assert (after.pending, after.foreign, after.unknown) == (1300, 700, 0)


async def test_no_more_are_pending_than_wait_when_another_consumer_takes_ours(bench: Bench) -> None:
    tasks = [bench.task(type=kind) for kind in ["monitor", "deploy"] * 300]
    await bench.produce(*tasks)
    await complete(bench.queue)
    await bench.client.zrem(bench.queue.keys.tasks, *(task.task_id for task in tasks[:240]))
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign) == (360, 0)
    assert snapshot.pending_by_type == {"monitor": 180, "deploy": 180}


async def test_a_few_of_ours_among_very_many_others_are_counted_exactly(bench: Bench) -> None:
    await plant(bench, bench.task(assigned_to="faq"), 20_000)
    await complete(bench.queue)
    await plant(bench, bench.task(priority="P3"), 7, first=20_000)
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign) == (7, 20_000)
    assert (snapshot.unknown, snapshot.estimated) == (7, False)
