"""Whether workers report to Redis at all: an image of another make may not."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from opsagent_operator.model.observed import Observed, PodState, QueueState

__all__ = ["FIRST_HEARTBEAT", "NO_HEARTBEAT", "awaiting_heartbeat", "reporting", "silent_since"]

FIRST_HEARTBEAT: Final = timedelta(seconds=60)
"""After that time some ready worker should have reported."""
NO_HEARTBEAT: Final = "NoHeartbeat"


def reporting(observed: Observed, now: datetime) -> bool:
    """Whether workers report to the orchestrator's queue, as far as is known.

    That none does is said once some have been ready for long enough, and until one reports: it holds
    while there are no workers, and when the operator is another one.
    """
    if not isinstance(observed.queue, QueueState) or _reported(observed.pods, observed.queue):
        return True
    since = observed.memory.silent_since
    return not _was_silent(observed) and (since is None or now < since + FIRST_HEARTBEAT)


def awaiting_heartbeat(observed: Observed) -> bool:
    """Whether some worker is ready and none has reported, so that time alone will tell."""
    queue = observed.queue
    if not isinstance(queue, QueueState) or not queue.task_aware:
        return False
    return any(_working(observed.pods)) and not _reported(observed.pods, queue)


def silent_since(observed: Observed, now: datetime) -> datetime | None:
    """What to remember for the next visit."""
    if not awaiting_heartbeat(observed):
        return None
    return observed.memory.silent_since or now


def _was_silent(observed: Observed) -> bool:
    conditions = observed.worker.status.get("conditions", [])
    return any(condition["reason"] == NO_HEARTBEAT for condition in conditions)


def _reported(pods: Iterable[PodState], queue: QueueState) -> bool:
    return any(pod.name in queue.workers for pod in _working(pods))


def _working(pods: Iterable[PodState]) -> Iterator[PodState]:
    return (pod for pod in pods if pod.ready and not pod.deleting)
