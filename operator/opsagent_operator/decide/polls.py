"""When an object is visited next, if nothing tells of a change before."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.decide.heartbeats import FIRST_HEARTBEAT
from opsagent_operator.decide.problem import overdue_at
from opsagent_operator.decide.protection import REST
from opsagent_operator.decide.situation import Situation
from opsagent_operator.model.observed import InvalidSpec, Memory, QueueState, Unreachable

__all__ = ["Polls", "next_visit"]

DRAINING: Final = timedelta(seconds=1)
"""While workers finish what they hold before they go: Redis does not tell when one has."""

PLAIN: Final = timedelta(seconds=5)
"""For the queue of another system: whether its Redis tells of changes is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Polls:
    """The longest times between two visits: a safety net, as changes are told by messages."""

    active: timedelta = timedelta(seconds=15)
    """While something moves: tasks, pods, a release; and while the queue cannot be read."""
    idle: timedelta = timedelta(seconds=30)
    """While nothing does."""


def next_visit(situation: Situation, memory: Memory, polls: Polls, now: datetime) -> timedelta:
    """How long from now: until time alone changes what is decided, or until the next poll."""
    return max(timedelta(), min(_waits(situation, memory, polls, now)))


def _waits(
    situation: Situation, memory: Memory, polls: Polls, now: datetime
) -> Iterator[timedelta]:
    observed, queue = situation.observed, situation.observed.queue
    unknown = isinstance(queue, Unreachable)
    working = isinstance(queue, QueueState) and queue.work + queue.soon > 0
    moving = situation.ready != situation.desired or situation.replacing
    yield polls.active if unknown or working or moving else polls.idle
    spec, target, replicas = observed.worker.spec, situation.target, situation.replicas
    if isinstance(spec, InvalidSpec) or replicas is None:
        return
    if isinstance(queue, QueueState) and not queue.task_aware:
        yield PLAIN
    if memory.draining_since:
        yield DRAINING
    if memory.silent_since is not None and now < memory.silent_since + FIRST_HEARTBEAT:
        yield memory.silent_since + FIRST_HEARTBEAT - now
    if memory.idle_since and not unknown:
        yield min(memory.idle_since.values()) + REST - now
    if replicas.until is not None:
        yield replicas.until - now
    if isinstance(queue, QueueState) and queue.next_due is not None and _by_depth(spec):
        # A worker that starts then is ready when the task is due. Of the tasks after those that
        # are due that soon already, nothing is known but that there may be some.
        lead = queue.next_due - memory.start_time
        yield lead if lead > timedelta() else memory.start_time
    if target is not None:
        overdue = overdue_at(target, observed.pods, deadline=spec.release.progress_deadline)
        if overdue is not None and overdue > now:
            yield overdue - now


def _by_depth(spec: OpsAgentWorkerSpec) -> bool:
    return spec.replicas is None and not spec.paused
