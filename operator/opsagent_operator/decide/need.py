"""How many workers the queue needs now, whatever runs and whatever was before."""

import math
from dataclasses import dataclass
from datetime import timedelta

from opsagent_operator.api.duration import format_duration
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.model.observed import QueueState

__all__ = ["Need", "need", "replicas_text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A number of replicas within the bounds, and the calculation as text."""

    count: int
    text: str


def need(spec: OpsAgentWorkerSpec, queue: QueueState, *, start_time: timedelta) -> Need:
    """The replicas that the tasks need, within `minReplicas` and `maxReplicas`.

    Delayed tasks count from the moment at which a pod that starts now would be ready for them:
    `start_time`, in which `queue.soon` was counted too.
    """
    scaling = spec.scaling
    count, text = _by_number(spec, queue, start_time)
    if scaling.max_queue_wait is not None:
        timed = _by_wait(spec, queue, scaling.max_queue_wait, start_time)
        if timed is None:
            text += ", as long as nobody knows how long a task takes (maxQueueWait)"
        elif scaling.tasks_per_replica is None or timed[0] > count:
            count, text = timed
    bounded = min(max(count, scaling.min_replicas), scaling.max_replicas)
    if bounded < count:
        text += f", capped at maxReplicas {scaling.max_replicas}"
    elif bounded > count:
        text += f", raised to minReplicas {scaling.min_replicas}"
    return Need(count=bounded, text=text)


def _by_number(
    spec: OpsAgentWorkerSpec, queue: QueueState, start_time: timedelta
) -> tuple[int, str]:
    """One worker for so many tasks, waiting and running."""
    per_replica = spec.scaling.tasks_per_replica or spec.worker.concurrency
    count = -(-(queue.work + queue.soon) // per_replica)
    running = "" if queue.in_flight is None else f" + {queue.in_flight} running"
    return count, (
        f"{_waiting(queue)}{running}{_soon(queue, start_time)} / {per_replica} per worker"
        f" = {replicas_text(count)}"
    )


def _by_wait(
    spec: OpsAgentWorkerSpec, queue: QueueState, wait: timedelta, start_time: timedelta
) -> tuple[int, str] | None:
    """As many workers as start every waiting task within `wait`; None without a run time to go by."""
    if queue.mean_seconds is None:
        return None
    slots, seconds = spec.worker.concurrency, wait.total_seconds()
    waiting = queue.pending + queue.soon
    count = math.ceil(waiting * queue.mean_seconds / (slots * seconds))
    if queue.work + queue.soon > 0:
        count = max(1, count)
    each = format_duration(timedelta(milliseconds=round(queue.mean_seconds * 1000)))
    return count, (
        f"{_waiting(queue)}{_soon(queue, start_time)} of {each} each / {slots} at once within"
        f" {format_duration(wait)} (maxQueueWait) = {replicas_text(count)}"
    )


def _waiting(queue: QueueState) -> str:
    # Only where tasks have a moment at which they are due can they be "due".
    return f"{queue.pending} {'due' if queue.task_aware else 'waiting'}"


def _soon(queue: QueueState, start_time: timedelta) -> str:
    return f" + {queue.soon} due within {format_duration(start_time)}" if queue.soon else ""


def replicas_text(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
