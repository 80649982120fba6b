"""What the index knows wrongly must hide no task for long."""

import msgspec
import pytest

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Finished

pytestmark = pytest.mark.integration


async def stale(bench: Bench, foreign: int, *, gone: int) -> None:
    """Other agents' tasks that the index knows, and of which some have left from anywhere since."""
    tasks = [bench.task(assigned_to="dev", priority="P1") for _ in range(foreign)]
    await bench.produce(*tasks)
    while await bench.queue.index():
        pass
    await bench.client.zrem(bench.queue.keys.tasks, *(task.task_id for task in tasks[-gone:]))


@pytest.mark.parametrize("gone", [1, 300])
async def test_a_task_nobody_heard_of_is_counted_while_no_worker_runs(
    bench: Bench, gone: int
) -> None:
    await stale(bench, 1000, gone=gone)
    await bench.produce(bench.task(priority="P3"))
    snapshot = await bench.queue.snapshot()
    assert (snapshot.pending, snapshot.foreign) == (1, 1000 - gone)


@pytest.mark.parametrize("gone", [1, 50])
async def test_a_task_nobody_heard_of_is_found_while_others_keep_all_workers_busy(
    bench: Bench, gone: int
) -> None:
    await stale(bench, 400, gone=gone)
    unheard = bench.task(priority="P0")
    await bench.produce(unheard)
    await bench.enqueue(*(bench.task() for _ in range(100)))
    for _ in range(100):
        claims = (await bench.claim(50)).claims
        if unheard.task_id in {claim.task.task_id for claim in claims}:
            break
        await bench.queue.release([claim.lease for claim in claims])
    else:
        pytest.fail("never handed out")


async def test_types_that_nothing_waits_of_are_forgotten(bench: Bench) -> None:
    await bench.enqueue(*(bench.task(type=f"type-{number}") for number in range(50)))
    for claim in (await bench.claim(50)).claims:
        await bench.finish(claim.lease)
    await bench.queue.index()
    assert not await bench.client.exists(bench.queue.keys.own("types"))


async def test_a_look_at_the_whole_queue_skips_nothing_while_tasks_are_handed_out(
    bench: Bench,
) -> None:
    await bench.produce(*(bench.task() for _ in range(2000)))
    keys, steps = bench.queue.keys, 0
    while await bench.client.zcard(keys.tasks) > await bench.client.zcard(
        keys.own("ready:monitor")
    ):
        assert len((await bench.claim(32)).claims) == 32
        steps += 1
    assert steps <= 2000 // 192 + 1


async def test_a_task_that_stands_in_the_index_twice_is_handed_out_once(bench: Bench) -> None:
    """Its type was rewritten, and the list of types was lost at the same time."""
    task = bench.task(type="deploy")
    await bench.produce(task)
    await bench.queue.index()
    await bench.client.delete(bench.queue.keys.own("types"))
    await bench.produce(msgspec.structs.replace(task, type="monitor"))
    await bench.queue.index()
    await bench.enqueue(bench.task(type="deploy"))
    claims = (await bench.claim(4)).claims
    assert len(claims) == 2
    assert all(
        await bench.queue.finish(
            [Finished(lease=claim.lease, status="completed", seconds=1) for claim in claims],
            version="v1",
            result_ttl_ms=LONG_MS,
        )
    )
