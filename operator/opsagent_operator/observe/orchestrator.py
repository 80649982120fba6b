"""Reads the orchestrator's queue: tasks with records, leases, workers that give signs of life."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import Final

from opsagent_operator.model.observed import QueueState, WorkerState
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.redis_pools import Pool
from opsagent_queue import QueueRefusedError, Snapshot, TaskQueue

__all__ = ["read_orchestrator"]

SILENT_AFTER_MS: Final = 60_000
"""A heartbeat older than this is of a pod that died without saying goodbye."""

INDEXING_SECONDS: Final = 0.1
"""How long a visit waits for an exact number; 256 tasks are sorted in within some milliseconds."""


async def read_orchestrator(
    queue: TaskQueue,
    key: Key,
    pool: Pool,
    *,
    start_time: timedelta,
    versions: Collection[str],
) -> QueueState:
    """The state of `queue`, which is that of the object `key`.

    One round trip, unless many tasks have come at once: then the first thousands are sorted in
    before they are counted. The rest is estimated, and sorted in afterwards.

    Raises:
        QueueError: it cannot be read.
    """
    loop = asyncio.get_running_loop()

    async def look() -> Snapshot:
        soon_ms = int(start_time.total_seconds() * 1000)
        return await queue.snapshot(soon_ms=soon_ms, versions=versions)

    snapshot = await look()
    await pool.expect_primary(snapshot.role)
    if snapshot.estimated:
        with suppress(QueueRefusedError):  # an estimate is better than nothing
            latest = loop.time() + INDEXING_SECONDS
            while await queue.index() > 0 and loop.time() < latest:
                pass
            snapshot = await look()
    if snapshot.unknown > 0:
        pool.indexer.complete(key, queue, unknown=snapshot.unknown, tell=snapshot.estimated)
    return _state(snapshot)


def _state(snapshot: Snapshot) -> QueueState:
    return QueueState(
        pending=snapshot.pending,
        delayed=snapshot.delayed,
        soon=snapshot.soon,
        next_due=None
        if snapshot.next_due_ms is None
        else timedelta(milliseconds=snapshot.next_due_ms),
        in_flight=snapshot.in_flight,
        dead=snapshot.dead,
        foreign=snapshot.foreign,
        oldest_seconds=None if snapshot.oldest_ms is None else snapshot.oldest_ms / 1000,
        paused=snapshot.paused,
        estimated=snapshot.estimated,
        run_id=snapshot.run_id,
        last_claim=snapshot.fence,
        mean_seconds=snapshot.mean_seconds,
        held=snapshot.busy,
        workers={
            pod: WorkerState(slots=beat.slots, version=beat.version, draining=beat.draining)
            for pod, beat in snapshot.workers.items()
            if beat.seen_ms is not None and snapshot.time_ms - beat.seen_ms < SILENT_AFTER_MS
        },
        marked=snapshot.marked,
    )
