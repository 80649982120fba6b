"""Whether time alone can change what is decided about an object: most objects sleep most of the time."""

from opsagent_operator.decide.heartbeats import awaiting_heartbeat
from opsagent_operator.decide.situation import Situation
from opsagent_operator.model.observed import Memory, QueueState
from opsagent_operator.model.plan import Plan

__all__ = ["at_rest"]


def at_rest(situation: Situation, plan: Plan) -> bool:
    """Whether every later decision is this one, unless something else than the time changes.

    Nothing is to be written, the queue has nothing for now or later, the workers are as many as it
    wants, and all of them are ready. What is remembered then grows older without a consequence: no
    number in it is above what is wanted now.
    """
    observed, queue, replicas = situation.observed, situation.observed.queue, situation.replicas
    if not isinstance(queue, QueueState) or replicas is None or situation.problem is not None:
        return False
    quiet = queue.work + queue.delayed == 0 and not queue.estimated and not queue.marked
    steady = replicas.action == "Steady" and replicas.until is None
    settled = situation.ready == situation.desired == len(observed.pods) and all(
        pod.ready and not pod.deleting and not pod.ended for pod in observed.pods
    )
    return (
        quiet
        and steady
        and settled
        and not situation.replacing
        and not awaiting_heartbeat(observed)
        and not _writes(plan)
        and not any(map(_waits, (observed.memory, plan.memory)))
    )


def _writes(plan: Plan) -> bool:
    return plan.pause_intake is not None or plan.drain is not None or bool(plan.pods or plan.delete)


def _waits(memory: Memory) -> bool:
    """Whether something is remembered that ends some time."""
    return bool(
        memory.draining_since
        or memory.idle_since
        or memory.removal
        or memory.emptied_at
        or memory.unknown_since
    )
