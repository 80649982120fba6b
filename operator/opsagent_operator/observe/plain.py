"""Reads the queue of another system: how deep it is, and nothing about who works on what."""

from datetime import timedelta

from opsagent_operator.api.v1alpha1 import Queue
from opsagent_operator.model.observed import QueueState
from opsagent_operator.observe.redis_pools import Pool
from opsagent_queue import PlainDepth, PlainQueue

__all__ = ["plain_queue", "read_plain"]


def plain_queue(pool: Pool, queue: Queue) -> PlainQueue | None:
    """The key that `queue` names; None for the orchestrator's.

    Raises:
        ConfigurationError: a combination that the API server should have refused.
    """
    if queue.kind == "Orchestrator":
        return None
    return PlainQueue(pool.redis, queue.kind, queue.key or "", queue.group, queue.in_flight_key)


async def read_plain(queue: PlainQueue, pool: Pool, *, start_time: timedelta) -> QueueState:
    """The state of `queue`: one round trip.

    Raises:
        QueueError: it cannot be read.
    """
    depth = await queue.read(soon_ms=int(start_time.total_seconds() * 1000))
    await pool.expect_primary(depth.role)
    return _state(depth)


def _state(depth: PlainDepth) -> QueueState:
    return QueueState(
        pending=depth.waiting,
        delayed=depth.delayed,
        soon=depth.soon,
        next_due=None if depth.next_due_ms is None else timedelta(milliseconds=depth.next_due_ms),
        in_flight=depth.in_flight,
        dead=0,
        foreign=0,
        oldest_seconds=None if depth.oldest_ms is None else depth.oldest_ms / 1000,
        paused=False,
        estimated=depth.estimated,
        run_id=depth.run_id,
        task_aware=False,
    )
