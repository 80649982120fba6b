"""Drain marks: a marked pod finishes what it holds and gets nothing new."""

import asyncio

import pytest

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Subscribed, Woken

pytestmark = pytest.mark.integration


async def test_a_marked_pod_gets_nothing_and_is_told_why(bench: Bench) -> None:
    await bench.enqueue(bench.task(), bench.task())
    await bench.queue.set_drain_marks(["pod-1"])
    refused = await bench.claim(owner="pod-1")
    assert (refused.claims, refused.draining, refused.paused) == ((), True, False)
    other = await bench.claim(owner="pod-2")
    assert (len(other.claims), other.draining) == (1, False)


async def test_a_closed_gate_and_a_mark_are_told_side_by_side(bench: Bench) -> None:
    await bench.queue.set_paused(True)
    await bench.queue.set_drain_marks(["pod-1"])
    both = await bench.claim(owner="pod-1")
    assert (both.paused, both.draining) == (True, True)


async def test_what_a_marked_pod_holds_stays_its_own(bench: Bench) -> None:
    renewed, finished, retried, released = [
        (await bench.claim_one(owner="pod-1")).lease for _ in range(4)
    ]
    await bench.queue.set_drain_marks(["pod-1"])
    assert await bench.renew(renewed) == frozenset()
    assert await bench.finish(finished)
    assert await bench.retry(retried, delay_ms=LONG_MS)
    assert await bench.queue.release([released]) == 1
    snapshot = await bench.queue.snapshot()
    assert snapshot.busy == {"pod-1": 1}
    assert snapshot.marked == {"pod-1"}


async def test_a_claim_sent_again_brings_what_it_took_before_the_mark(bench: Bench) -> None:
    await bench.enqueue(bench.task(), bench.task())
    first = await bench.claim(2, token="a")
    await bench.queue.set_drain_marks(["pod-1"])
    again = await bench.claim(2, token="a")
    assert (again.claims, again.draining) == (first.claims, True)


async def test_marks_are_absolute(bench: Bench) -> None:
    await bench.queue.set_drain_marks(["pod-1", "pod-2"])
    await bench.queue.set_drain_marks(["pod-2", "pod-3"])
    assert (await bench.queue.snapshot()).marked == {"pod-2", "pod-3"}
    assert not (await bench.claim(owner="pod-1")).draining
    await bench.queue.set_drain_marks([])
    assert (await bench.queue.snapshot()).marked == frozenset()
    assert not (await bench.claim(owner="pod-2")).draining


async def test_a_mark_expires_by_redis_clock_unless_it_is_renewed(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    await bench.queue.set_drain_marks(["pod-1", "pod-2"], ttl_ms=LONG_MS)
    await bench.queue.set_drain_marks(["pod-1", "pod-2"], ttl_ms=1)
    async with asyncio.timeout(10):
        while (await bench.queue.snapshot()).marked:  # noqa: ASYNC110 - Redis' clock tells nobody
            await asyncio.sleep(0.001)
    result = await bench.claim(owner="pod-1")
    assert (len(result.claims), result.draining) == (1, False)


async def test_a_mark_holds_for_two_minutes_unless_told_otherwise(bench: Bench) -> None:
    await bench.queue.set_drain_marks(["pod-1"])
    until = await bench.client.zscore(bench.queue.keys.own("drain"), "pod-1")
    now = (await bench.queue.snapshot()).time_ms
    assert until is not None
    assert now + 110_000 < until <= now + 120_000


async def test_a_pod_that_loses_its_mark_is_woken_and_no_other(bench: Bench) -> None:
    async with bench.queue.wakeups() as wakeups:
        assert await anext(wakeups) == Subscribed()
        await bench.queue.set_drain_marks(["pod-1", "pod-2"])
        await bench.queue.set_drain_marks(["pod-1", "pod-2"])
        heard = bench.task()
        await bench.enqueue(heard)
        # Had a mark that was made or renewed woken anybody, that would come before the task.
        assert await anext(wakeups) != Woken()
        await bench.queue.set_drain_marks(["pod-1"])
        assert await anext(wakeups) == Woken()


async def test_a_mark_of_no_length_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="ttl_ms"):
        await bench.queue.set_drain_marks(["pod-1"], ttl_ms=0)


async def test_tasks_that_were_refused_to_a_marked_pod_stay_as_they_were(bench: Bench) -> None:
    """Neither promoted nor sorted in nor given up: a refused claim changes nothing."""
    claim = await bench.claim_one()
    await bench.retry(claim.lease, delay_ms=0)
    await bench.produce(bench.task(), bench.task(assigned_to="dev"))
    await bench.queue.set_drain_marks(["pod-1"])
    keys = sorted(await bench.client.keys())
    before = [await bench.client.dump(key) for key in keys]
    assert (await bench.claim(5)).draining
    assert sorted(await bench.client.keys()) == keys
    assert [await bench.client.dump(key) for key in keys] == before
