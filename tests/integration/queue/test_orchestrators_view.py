"""The orchestrator's view of tasks that we move: its numbers stay right, its reader reads, its channels tell."""

from collections.abc import AsyncIterator

import pytest

from doubles.orchestrator import Channels, Orchestrator, Statistics
from fixtures.queue_bench import Bench

pytestmark = pytest.mark.integration


@pytest.fixture
def orchestrator(bench: Bench) -> Orchestrator:
    return Orchestrator(bench.client)


@pytest.fixture
async def channels(bench: Bench) -> AsyncIterator[Channels]:
    channels = Channels(bench.client)
    await channels.start()
    yield channels
    await channels.stop()


async def test_its_numbers_stay_right_on_every_way_a_task_can_go(
    bench: Bench, orchestrator: Orchestrator, channels: Channels
) -> None:
    async def shows(queued: int, processing: int, **statuses: int) -> None:
        assert await orchestrator.statistics() == Statistics(queued, processing, statuses)

    await bench.enqueue(*(bench.task() for _ in range(6)))
    await shows(6, 0, pending=6)

    done, failed, again, crashed, drained, stopped = [
        claim.lease for claim in (await bench.claim(6)).claims
    ]
    await shows(0, 6, in_progress=6)

    await bench.finish(done, result={"fine": True})
    await shows(0, 5, in_progress=5, completed=1)
    await bench.finish(failed, status="failed", error="no", error_class="X")
    await shows(0, 4, in_progress=4, completed=1, failed=1)
    await bench.retry(again)
    await shows(0, 3, in_progress=3, completed=1, failed=1, pending=1)
    await bench.expire(crashed)
    await bench.queue.reap()
    # Reaping also brings back what was waiting for its next attempt.
    await shows(2, 2, in_progress=2, completed=1, failed=1, pending=2)
    await bench.queue.release([drained])
    await shows(3, 1, in_progress=1, completed=1, failed=1, pending=3)
    assert await bench.queue.cancel(stopped.task_id) == "cancelling"
    await bench.finish(stopped, status="cancelled")
    await shows(3, 0, completed=1, failed=1, cancelled=1, pending=3)
    assert await bench.queue.cancel(drained.task_id) == "cancelled"
    await shows(2, 0, completed=1, failed=1, cancelled=2, pending=2)
    await bench.queue.replay([failed.task_id])
    await shows(3, 0, completed=1, cancelled=2, pending=3)

    for claim in (await bench.claim(6)).claims:
        await bench.finish(claim.lease)
    await shows(0, 0, completed=4, cancelled=2)
    await channels.heard(since_start=6 + 2 + 2 + 1 + 3)
    assert channels.types(failed.task_id) == [
        "task.created",
        "task.failed",
        "task.created",
        "task.completed",
    ]
    assert channels.types(again.task_id) == ["task.created", "task.completed"]


async def test_a_poisoned_task_is_failed_in_its_view(
    bench: Bench, orchestrator: Orchestrator, channels: Channels
) -> None:
    await bench.enqueue(bench.task())
    for _ in range(3):
        (claim,) = (await bench.claim()).claims
        await bench.expire(claim.lease)
        await bench.queue.reap()
    assert await orchestrator.statistics() == Statistics(0, 0, {"failed": 1})
    task = await orchestrator.read(claim.task.task_id)
    assert str(task.error).startswith("gave up after 3 crashes")
    await channels.heard(since_start=2)


async def test_other_agents_tasks_are_counted_as_they_were(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await bench.enqueue(*(bench.task(assigned_to="dev") for _ in range(3)), bench.task())
    (claim,) = (await bench.claim(10)).claims
    await bench.finish(claim.lease)
    assert await orchestrator.statistics() == Statistics(3, 0, {"pending": 3, "completed": 1})


async def test_a_patch_while_the_task_runs_keeps_what_it_changed(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    claim = await bench.claim_one(metadata={"team": "web"})
    await orchestrator.patch(
        claim.task.task_id,
        "blocked",
        metadata={"team": "api", "ticket": "T-1"},
        sla={"target": 60, "deadline": None, "alert_threshold": 0.8},
    )
    assert await bench.finish(claim.lease, data=claim.data, result={"fine": True})
    task = await orchestrator.read(claim.task.task_id)
    assert task.status == "completed"
    assert task.metadata == {"team": "api", "ticket": "T-1", "result": {"fine": True}}
    assert task.sla == {"target": 60, "deadline": None, "alert_threshold": 0.8}
    assert await orchestrator.statistics() == Statistics(0, 0, {"completed": 1})


async def test_a_patch_to_cancelled_while_the_task_runs_stands(
    bench: Bench, orchestrator: Orchestrator, channels: Channels
) -> None:
    claim = await bench.claim_one()
    await orchestrator.patch(claim.task.task_id, "cancelled")
    renewed = await bench.queue.renew([claim.lease], lease_ms=60_000)
    assert renewed.lost == frozenset()
    assert renewed.cancelled == {claim.task.task_id}
    assert await bench.finish(claim.lease, data=claim.data, result={"too": "late"})
    task = await orchestrator.read(claim.task.task_id)
    assert (task.status, "result" in task.metadata) == ("cancelled", False)
    assert await orchestrator.statistics() == Statistics(0, 0, {"cancelled": 1})
    await channels.heard(since_start=2)
    assert channels.types(claim.task.task_id) == ["task.created", "task.cancelled"]


@pytest.mark.parametrize("ending", ["completed", "failed"])
async def test_a_patch_that_ends_a_waiting_task_takes_it_from_us(
    bench: Bench, orchestrator: Orchestrator, ending: str
) -> None:
    task = bench.task()
    await bench.enqueue(task)
    await orchestrator.patch(task.task_id, ending)
    assert (await bench.claim()).claims == ()
    assert await orchestrator.statistics() == Statistics(0, 0, {ending: 1})
