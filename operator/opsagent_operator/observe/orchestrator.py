"""Reads the orchestrator's queue: tasks with records, leases, workers that give signs of life."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from redis.exceptions import ReadOnlyError

from opsagent_operator.model.observed import QueueState, WorkerState
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.redis_pools import Pool
from opsagent_queue import QueueUnavailableError, Snapshot, TaskQueue

__all__ = ["read_orchestrator"]

SILENT_AFTER_MS: Final = 60_000
"""A heartbeat older than this is of a pod that died without saying goodbye."""


async def read_orchestrator(
    queue: TaskQueue,
    key: Key,
    pool: Pool,
    *,
    start_time: timedelta,
    versions: Collection[str],
) -> QueueState:
    """The state of `queue`, which is that of the object `key`: one round trip.

    Raises:
        QueueError: it cannot be read.
    """
    snapshot = await queue.snapshot(
        soon_ms=int(start_time.total_seconds() * 1000), versions=versions
    )
    if snapshot.role == "slave":
        # A name, or Sentinel, may lead to the primary by now.
        await pool.redis.connection_pool.disconnect(inuse_connections=False)
        raise QueueUnavailableError("this Redis is a replica") from ReadOnlyError()
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
        mean_seconds=snapshot.mean_seconds,
        held=snapshot.busy,
        workers={
            pod: WorkerState(slots=beat.slots, version=beat.version, draining=beat.draining)
            for pod, beat in snapshot.workers.items()
            if beat.seen_ms is not None and snapshot.time_ms - beat.seen_ms < SILENT_AFTER_MS
        },
        marked=snapshot.marked,
    )
