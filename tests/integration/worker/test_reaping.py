"""What others left behind comes back as soon as their leases expire."""

import asyncio

import pytest

from integration.worker.harness import eventually
from integration.worker.in_process import Bench
from opsagent_worker import reaper
from opsagent_worker.reaper import reap_forever

pytestmark = pytest.mark.integration


async def test_a_lease_that_expires_is_looked_after_long_before_the_next_round(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_LONGEST_INTERVAL", 3600.0)
    await bench.enqueue()
    claimed = await bench.queue.claim(
        owner="silent", version="v1", count=1, lease_ms=500, token="of-the-silent-one"
    )
    assert len(claimed.claims) == 1

    reaping = asyncio.create_task(
        reap_forever(
            bench.queue,
            lease_seconds=3600.0,
            result_ttl_ms=60_000,
            metrics=bench.metrics,
            poisoned=bench.errors.poisoned,
        )
    )

    async def rescued() -> bool:
        return bench.sample("opsagent_worker_tasks_rescued_total") == 1

    await eventually(rescued, what="the task is rescued")
    reaping.cancel()
    assert (await bench.queue.snapshot()).pending == 1
