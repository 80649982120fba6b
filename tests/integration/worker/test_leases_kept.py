"""Leases are renewed in time, whenever they were granted."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from integration.worker.harness import WORKER, eventually
from integration.worker.in_process import Bench
from opsagent_queue import TaskQueue, connect
from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.leases import LeaseKeeper
from opsagent_worker.metrics import Metrics
from opsagent_worker.running import RunningTask

pytestmark = pytest.mark.integration

LEASE_SECONDS = 60.0


async def test_a_lease_whose_grant_was_long_on_the_way_is_renewed_before_it_ends(
    bench: Bench, client: Redis, redis_url: str
) -> None:
    await bench.enqueue()
    async with connect(redis_url) as connection:
        keeper = LeaseKeeper(
            TaskQueue(connection, worker=WORKER), lease_seconds=LEASE_SECONDS, metrics=Metrics()
        )
        job = asyncio.create_task(keeper.run())
        left = 5.0
        result = await bench.queue.claim(
            owner="pod-1", version="v1", count=1, lease_ms=round(left * 1000), token="late"
        )
        (claim,) = result.claims
        granted = time.monotonic()
        running = RunningTask(claim, granted + left, handler=None, label="monitor")
        keeper.add(running)

        async def renewed() -> bool:
            await bench.queue.reap()
            return running.deadline > granted + 2 * left

        await eventually(renewed, what="it is renewed")
        held = await client.zscore(bench.queue.keys.own("leases"), claim.lease.task_id)
        await cancel_until_done([job])

    assert held is not None
    assert (await bench.queue.counters()).get("rescued", 0) == 0
