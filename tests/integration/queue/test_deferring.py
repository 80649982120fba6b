"""A task whose moment has not come waits without losing an attempt."""

import pytest

from fixtures.queue_bench import Bench
from opsagent_queue import Lease, Retried

pytestmark = pytest.mark.integration


async def defer(bench: Bench, lease: Lease, *, delay_ms: int = 0) -> bool:
    deferred = Retried(lease=lease, delay_ms=delay_ms, error="not now", counted=False)
    (taken,) = await bench.queue.retry([deferred], version="v1")
    return taken


async def test_an_attempt_that_is_not_counted_may_be_made_again(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.retry(claim.lease)
    (second,) = (await bench.claim()).claims

    assert await defer(bench, second.lease)

    (again,) = (await bench.claim()).claims
    assert (second.lease.attempt, again.lease.attempt) == (2, 2)
    assert again.lease.fence > second.lease.fence
    assert again.lease.crashes == 0
    assert (again.task.retry_count, again.task.error) == (1, "not now")


async def test_it_waits_as_long_as_it_is_told(bench: Bench) -> None:
    claim = await bench.claim_one()

    assert await defer(bench, claim.lease, delay_ms=60_000)

    assert (await bench.claim()).claims == ()
    snapshot = await bench.queue.snapshot()
    assert (snapshot.delayed, snapshot.in_flight) == (1, 0)
    assert snapshot.next_due_ms is not None
    assert 50_000 < snapshot.next_due_ms <= 60_000


async def test_deferring_again_is_known_and_too_late_is_refused(bench: Bench) -> None:
    claim = await bench.claim_one()

    assert await defer(bench, claim.lease, delay_ms=60_000)
    assert await defer(bench, claim.lease, delay_ms=60_000)

    lost = await bench.claim_one()
    await bench.queue.release([lost.lease])
    assert not await defer(bench, lost.lease)
