"""What there is to remember of the queue itself: since when it is unknown, or suspiciously empty."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from opsagent_operator.model.observed import Memory, PodState, QueueState, Unreachable

__all__ = ["learn_start_time", "remember_queue"]

SHORTEST_START: Final = timedelta(seconds=1)
LONGEST_START: Final = timedelta(seconds=60)


def remember_queue(
    memory: Memory,
    queue: QueueState | Unreachable,
    *,
    spare: bool,
    patience: timedelta,
    now: datetime,
) -> Memory:
    """The memory with what `queue` tells about itself.

    A queue that is empty when its Redis has another run id than before may have been emptied by the
    restart, or by a failover to a replica that had nothing: that is remembered for `patience`, or
    until there is a task. It is not suspected of a queue that has gone on from where it was.

    Args:
        memory: what was remembered at the last visit.
        queue: the queue as seen just now.
        spare: whether an empty queue would take workers away.
        patience: `whenUnknown.after`.
        now: the time of the decision.
    """
    if isinstance(queue, Unreachable):
        return memory.updated(unknown_since=memory.unknown_since or now)
    run_id = queue.run_id or memory.run_id
    emptied_at = memory.emptied_at
    if queue.work > 0 or queue.delayed > 0 or not spare:
        emptied_at = None
    elif memory.run_id not in {None, run_id} and not _has_gone_on(memory, queue):
        emptied_at = now
    if emptied_at is not None and now >= emptied_at + patience:
        emptied_at = None
    return memory.updated(
        unknown_since=None,
        run_id=run_id,
        last_claim=queue.last_claim,
        waited=queue.pending + queue.delayed > 0,
        emptied_at=emptied_at,
    )


def _has_gone_on(memory: Memory, queue: QueueState) -> bool:
    """Whether an empty `queue` is the one in `memory`, worked off since.

    The last claim is told by the same data as the tasks. In older data it is an older one; or the same, if
    none was made since: then what waited has vanished without having been claimed. A newer claim may also be
    of a task that came after a loss: that settles the matter as well, as a task that is seen does.
    """
    before, now = memory.last_claim, queue.last_claim
    if before is None or now is None:
        return False
    return now > before or (now == before and not memory.waited)


def learn_start_time(memory: Memory, pods: Iterable[PodState]) -> Memory:
    """The memory with the time that the newest pod took to become ready.

    A pod that was restarted, or whose readiness came and went, tells of something else; the longest
    believable time limits the error.
    """
    newest = max(
        (pod for pod in pods if pod.ready_at is not None and pod.restarts == 0),
        key=lambda pod: (pod.created_at, pod.name),
        default=None,
    )
    if newest is None or newest.ready_at is None:
        return memory
    took = min(max(newest.ready_at - newest.created_at, SHORTEST_START), LONGEST_START)
    return memory.updated(start_time=took)
