"""How many workers an object needs: the number of replicas is decided here.

Up at once and in one step; down only to the highest number that was wanted within the stabilization
window (the rule of Kubernetes' HorizontalPodAutoscaler), and to zero only after the queue has been
empty for the cooldown. What is not known holds the number where it is.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from opsagent_operator.api.duration import format_duration
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.model.observed import Memory, QueueState, Unreachable

__all__ = ["Replicas", "desired_replicas"]

Action = Literal["ScaleUp", "ScaleDown", "Hold", "Steady"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicas:
    """A number of replicas, with the reason for it."""

    count: int
    action: Action
    reason: str
    """CamelCase; documented in docs/status.md."""
    message: str
    """The reason with its numbers, for people."""
    memory: Memory


def desired_replicas(
    spec: OpsAgentWorkerSpec,
    queue: QueueState | Unreachable,
    *,
    current: int,
    memory: Memory,
    now: datetime,
) -> Replicas:
    """The number of replicas that serve the queue.

    Args:
        spec: the object's spec.
        queue: the queue as seen just now.
        current: replicas asked for until now.
        memory: what was remembered at the last visit.
        now: the time of the decision.
    """
    if not (spec.paused or spec.replicas is not None or isinstance(queue, Unreachable)):
        return _from_depth(spec, queue, current=current, memory=memory, now=now)
    # The queue has no say: what it asked for before says nothing about the moment it has again.
    memory = replace(memory, recommendations=(), busy_at=None)
    if spec.paused:
        return _step(0, current, "Paused", "0 replicas: spec.paused is true", memory)
    if spec.replicas is not None:
        return _step(
            spec.replicas,
            current,
            "FixedReplicas",
            f"{_replicas(spec.replicas)}: spec.replicas says so, the queue is not asked",
            memory,
        )
    return _frozen(spec, current=current, memory=memory)


def _frozen(spec: OpsAgentWorkerSpec, *, current: int, memory: Memory) -> Replicas:
    """What runs now: unknown is never zero. The floor holds even so, whatever the queue says."""
    count = max(current, spec.scaling.min_replicas)
    why = f"holding {count}: the queue is unknown, and unknown is not zero"
    return Replicas(
        count=count,
        action="ScaleUp" if count > current else "Hold",
        reason="QueueUnknown",
        message=why,
        memory=memory,
    )


def _from_depth(
    spec: OpsAgentWorkerSpec, queue: QueueState, *, current: int, memory: Memory, now: datetime
) -> Replicas:
    scaling = spec.scaling
    per_replica = scaling.tasks_per_replica or spec.worker.concurrency
    work = queue.work
    needed = -(-work // per_replica)
    wanted = min(max(needed, scaling.min_replicas), scaling.max_replicas)
    memory = _remember(memory, spec, wanted=wanted, current=current, busy=work > 0, now=now)
    why = (
        f"{queue.pending} due + {queue.in_flight or 0} running / {per_replica} per worker"
        f" = {_replicas(needed)}{_limit(spec, needed=needed, wanted=wanted)}"
    )
    if wanted >= current:
        return _step(wanted, current, "QueueDepth", why, memory)
    return _down(spec, wanted=wanted, current=current, why=why, memory=memory, now=now)


def _down(
    spec: OpsAgentWorkerSpec,
    *,
    wanted: int,
    current: int,
    why: str,
    memory: Memory,
    now: datetime,
) -> Replicas:
    """As far down as the stabilization window and the cooldown to zero allow."""
    policy = spec.scaling.scale_down
    highest_at, highest = max(memory.recommendations, key=lambda entry: (entry[1], entry[0]))
    count = min(current, max(wanted, highest))
    if count > wanted:
        brake = "StabilizationWindow"
        why += (
            f", but {highest} wanted within the last {format_duration(policy.stabilization)}:"
            f" keeping {count} until {_clock(highest_at + policy.stabilization)}"
            " (scaleDown.stabilization)"
        )
        return _braked(count, current, brake, why, memory)
    empty_since = memory.busy_at or now
    if count == 0 and now < empty_since + policy.cooldown_to_zero:
        brake = "CooldownToZero"
        why += (
            f", but empty only since {_clock(empty_since)}: keeping 1 until"
            f" {_clock(empty_since + policy.cooldown_to_zero)} (scaleDown.cooldownToZero)"
        )
        return _braked(1, current, brake, why, memory)
    return _step(count, current, "QueueDepth", why, memory)


def _remember(
    memory: Memory,
    spec: OpsAgentWorkerSpec,
    *,
    wanted: int,
    current: int,
    busy: bool,
    now: datetime,
) -> Memory:
    """Add what is wanted now; forget what is older than the window.

    A fresh memory knows no past, so it takes the present for it: what runs was wanted until now.
    """
    oldest = now - spec.scaling.scale_down.stabilization
    fresh = memory.busy_at is None
    past = ((now, current),) if fresh else memory.recommendations
    kept = [entry for entry in past if entry[0] >= oldest]
    # Only a number that no later one reaches can ever be the highest in the window.
    kept = [*(entry for entry in kept if entry[1] > wanted), (now, wanted)]
    return replace(
        memory, recommendations=tuple(kept), busy_at=now if busy or fresh else memory.busy_at
    )


def _step(count: int, current: int, reason: str, why: str, memory: Memory) -> Replicas:
    action: Action = "ScaleUp" if count > current else "ScaleDown" if count < current else "Steady"
    was = "unchanged" if count == current else f"was {current}"
    return Replicas(
        count=count, action=action, reason=reason, message=f"{why}; {was}", memory=memory
    )


def _braked(count: int, current: int, reason: str, why: str, memory: Memory) -> Replicas:
    """Less of a step down than the queue alone would take, or none at all."""
    if count < current:
        return _step(count, current, reason, why, memory)
    return Replicas(count=count, action="Hold", reason=reason, message=why, memory=memory)


def _limit(spec: OpsAgentWorkerSpec, *, needed: int, wanted: int) -> str:
    if wanted < needed:
        return f", capped at maxReplicas {spec.scaling.max_replicas}"
    if wanted > needed:
        return f", raised to minReplicas {spec.scaling.min_replicas}"
    return ""


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S")
