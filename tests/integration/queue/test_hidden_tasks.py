"""What the index knows wrongly must hide no task for long."""

import pytest

from fixtures.queue_bench import Bench


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
