"""How far running tasks are can be read by anybody, and is forgotten when they end."""

import asyncio

import pytest

from fixtures.queue_bench import Bench
from opsagent_queue import Progress, ProgressBoard

pytestmark = pytest.mark.integration

HALF = Progress(fraction=0.5, message="half of it", worker="pod-1")


@pytest.fixture
def board(bench: Bench) -> ProgressBoard:
    return bench.queue.progress()


async def test_the_last_word_counts_and_carries_redis_time(
    bench: Bench, board: ProgressBoard
) -> None:
    claim = await bench.claim_one()
    await board.write([(claim.lease, Progress(fraction=0.1))])

    assert await board.write([(claim.lease, HALF)]) == 1

    (progress,) = (await board.read()).values()
    assert (progress.fraction, progress.message, progress.worker) == (0.5, "half of it", "pod-1")
    assert str(progress.at).endswith("+00:00")


async def test_several_tasks_are_noted_and_forgotten_at_once(
    bench: Bench, board: ProgressBoard
) -> None:
    first, second, third = [await bench.claim_one() for _ in range(3)]
    await board.write([(first.lease, HALF), (second.lease, HALF)])

    await board.write([(third.lease, HALF)], ended=[first.lease])

    assert set(await board.read()) == {second.task.task_id, third.task.task_id}


async def test_who_lost_the_lease_has_no_say(bench: Bench, board: ProgressBoard) -> None:
    lost = await bench.claim_one()
    await bench.queue.release([lost.lease])
    (now,) = (await bench.claim(owner="pod-2")).claims
    await board.write([(now.lease, HALF)])

    assert await board.write([(lost.lease, Progress(fraction=0.9))], ended=[lost.lease]) == 0

    assert (await board.read())[now.task.task_id].fraction == 0.5


async def test_what_dead_workers_left_behind_goes_by_and_by(
    bench: Bench, board: ProgressBoard
) -> None:
    dead = [await bench.claim_one() for _ in range(20)]
    await board.write([(claim.lease, HALF) for claim in dead])
    await bench.expire(*(claim.lease for claim in dead))
    await bench.queue.reap()
    living = await bench.claim_one(priority="P0")

    async with asyncio.timeout(30):
        while set(await board.read()) != {living.task.task_id}:
            await board.write([(living.lease, HALF)])


async def test_all_of_it_ends_a_day_after_the_last_word(bench: Bench, board: ProgressBoard) -> None:
    claim = await bench.claim_one()
    await board.write([(claim.lease, HALF)])

    ttl_ms = await bench.client.pttl(bench.queue.keys.own("progress"))
    assert 0 < ttl_ms <= 24 * 3600 * 1000


async def test_what_is_no_progress_of_ours_is_passed_over(
    bench: Bench, board: ProgressBoard
) -> None:
    claim = await bench.claim_one()
    await bench.client.hset(
        bench.queue.keys.own("progress"),
        mapping={claim.task.task_id: "100 %", "t": '{"fraction": "all"}'},
    )

    assert await board.read() == {}
    assert await board.write([], ended=[claim.lease]) == 0
    assert await board.write([(claim.lease, HALF)]) == 1


async def test_nothing_to_say_asks_redis_nothing(board: ProgressBoard) -> None:
    assert await board.write([]) == 0
