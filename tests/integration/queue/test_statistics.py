"""What was finished, by version and minute, and which tasks ended last."""

import pytest

from fixtures.queue_bench import LONG_MS, Bench
from opsagent_queue import Finished, Retried, parse_time

pytestmark = pytest.mark.integration


async def end(bench: Bench, *, version: str = "v1", kind: str = "monitor", **fields: object) -> str:
    claim = await bench.claim_one(type=kind)
    one = Finished(
        lease=claim.lease,
        **{"status": "completed", "seconds": 0.3, "data": claim.data, **fields},  # type: ignore[arg-type] # fields of any
    )
    assert await bench.queue.finish([one], version=version, result_ttl_ms=LONG_MS) == (True,)
    return claim.task.task_id


async def test_results_are_counted_by_outcome_type_and_error(bench: Bench) -> None:
    await end(bench, seconds=0.004)
    await end(bench, kind="deploy", seconds=42)
    await end(bench, kind="deploy", status="failed", error="no", error_class="PermanentError")
    await end(bench, status="cancelled")
    claim = await bench.claim_one()
    retried = Retried(lease=claim.lease, delay_ms=0, error="x", error_class="HTTPError")
    await bench.queue.retry([retried], version="v1")
    results = await bench.queue.results("v1", minutes=2)
    assert (results.ok, results.failed, results.cancelled, results.retried) == (2, 1, 1, 1)
    assert results.ok_by_type == {"deploy": 1, "monitor": 1}
    assert results.failed_by_type == {"deploy": 1}
    assert results.errors == {"HTTPError": 1, "PermanentError": 1}
    assert results.run_seconds == pytest.approx(42.304)
    assert results.run_buckets == {0.01: 1, 0.5: 1, 60.0: 1}


async def test_each_version_has_its_own_results(bench: Bench) -> None:
    await end(bench, version="v1")
    await end(bench, version="v2", status="failed", error="x")
    assert (await bench.queue.results("v1", minutes=5)).failed == 0
    assert (await bench.queue.results("v2", minutes=5)).failed == 1
    nothing = await bench.queue.results("v3", minutes=5)
    assert (nothing.ok, nothing.failed, nothing.errors) == (0, 0, {})


async def test_a_crash_counts_for_the_version_that_held_the_lease(bench: Bench) -> None:
    await bench.enqueue(bench.task())
    for version in ("v1", "v2", "v1"):
        (claim,) = (await bench.claim(version=version)).claims
        await bench.expire(claim.lease)
        await bench.queue.reap()
    first, second = [await bench.queue.results(version, minutes=2) for version in ("v1", "v2")]
    assert (first.crashed, first.failed, second.crashed, second.failed) == (2, 1, 1, 0)
    assert first.errors == {"WorkerCrash": 2}


async def test_results_leave_after_two_hours(bench: Bench) -> None:
    await end(bench)
    (key,) = await bench.client.keys(bench.queue.keys.own("stats:*"))
    assert 0 < await bench.client.pttl(key) <= 2 * 3600 * 1000


async def test_a_late_or_repeated_report_counts_once(bench: Bench) -> None:
    claim = await bench.claim_one()
    for _ in range(2):
        assert await bench.finish(claim.lease)
    assert (await bench.queue.results("v1", minutes=2)).ok == 1
    assert len(await bench.queue.recent()) == 1


async def test_names_without_end_do_not_fill_the_memory(bench: Bench) -> None:
    await bench.enqueue(*(bench.task(type=f"type-{number}") for number in range(150)))
    claims = (await bench.claim(150)).claims
    batch = [
        Finished(
            lease=claim.lease,
            status="failed",
            seconds=1,
            error="x",
            error_class=f"{'Error' * 100}{number}" if number % 2 else f"Error{number}",
        )
        for number, claim in enumerate(claims)
    ]
    for half in (batch[:100], batch[100:]):
        await bench.queue.finish(half, version="v1", result_ttl_ms=LONG_MS)
    (key,) = await bench.client.keys(bench.queue.keys.own("stats:*"))
    names = await bench.client.hkeys(key)
    assert max(map(len, names)) < 80
    results = await bench.queue.results("v1", minutes=2)
    assert sum(results.errors.values()) == results.failed == 150
    assert results.errors["other"] > 0
    assert results.failed_by_type["other"] > 0
    assert len(names) <= 300


@pytest.mark.parametrize("minutes", [0, 121])
async def test_minutes_that_are_not_kept_are_a_mistake(bench: Bench, minutes: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 120"):
        await bench.queue.results("v1", minutes=minutes)


async def test_the_last_fifty_ends_are_remembered_the_latest_first(bench: Bench) -> None:
    ids = [await end(bench) for _ in range(55)]
    recent = await bench.queue.recent()
    assert [one.task_id for one in recent] == ids[:4:-1]


async def test_an_end_tells_what_people_ask_first(bench: Bench) -> None:
    long = "because " * 1000
    id_ = await end(bench, kind="deploy", status="failed", error=long, error_class="HTTPError")
    (one,) = await bench.queue.recent()
    assert (one.task_id, one.type, one.status, one.version) == (id_, "deploy", "failed", "v1")
    assert (one.attempt, one.seconds, one.error_class) == (1, 0.3, "HTTPError")
    assert one.error == long[:1000]
    assert parse_time(one.at) is not None
    assert (await bench.data(id_)).error == long


async def test_a_task_given_up_after_crashes_is_among_the_last_ends(bench: Bench) -> None:
    claim = await bench.claim_one()
    await bench.client.hset(bench.queue.keys.history(claim.task.task_id), "crashes", "2")
    await bench.expire(claim.lease)
    await bench.queue.reap()
    (one,) = await bench.queue.recent()
    assert (one.status, one.error_class, one.seconds) == ("failed", "WorkerCrash", None)


async def test_what_is_no_end_is_left_out(bench: Bench) -> None:
    await bench.client.lpush(bench.queue.keys.own("recent"), "x", '{"task_id": 1}')
    await end(bench)
    assert len(await bench.queue.recent()) == 1
