"""The conditions of an object: each an ordered list of questions, the first that applies answers.

All are present from the first visit. Reasons are API: stable, documented in docs/status.md.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from opsagent_operator.api.duration import format_duration
from opsagent_operator.api.status import rfc3339
from opsagent_operator.api.v1alpha1 import Queue
from opsagent_operator.decide.heartbeats import FIRST_HEARTBEAT, NO_HEARTBEAT, reporting
from opsagent_operator.decide.situation import Situation
from opsagent_operator.model.observed import InvalidSpec, QueueState, Unreachable

__all__ = ["conditions"]


NOT_BY_DEPTH: Final[Mapping[str, str]] = {
    "QueueUnknown": "replicas are frozen: unknown is not zero",
    "Fallback": "replicas are at least scaling.whenUnknown.replicas: the queue has been unknown for"
    " scaling.whenUnknown.after",
    "EmptyAfterRestart": "replicas are frozen: the queue is empty since its Redis was restarted or"
    " replaced, which is not believed for scaling.whenUnknown.after",
    "WorkersCannotStart": "no worker is added while there are some that cannot start",
}
"""Reasons of decisions that the queue's depth has no part in, or only to take workers away.

Without numbers that move: a condition's message is written at once.
"""


class Answer(NamedTuple):
    """Whether a condition holds, and why."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def conditions(situation: Situation, now: datetime) -> list[Mapping[str, Any]]:
    """All conditions, as the status has them; `lastTransitionTime` moves only when a status flips."""
    before = {
        entry["type"]: entry for entry in situation.observed.worker.status.get("conditions", [])
    }
    answers = {kind: question(situation) for kind, question in QUESTIONS.items()}
    answers["TaskAware"] = _task_aware(situation, now)
    return [
        _condition(situation, before.get(kind), kind, answer, now)
        for kind, answer in answers.items()
    ]


def _condition(
    situation: Situation,
    before: Mapping[str, Any] | None,
    kind: str,
    answer: Answer,
    now: datetime,
) -> Mapping[str, Any]:
    flipped = before is None or before["status"] != answer.status
    return {
        "type": kind,
        "status": answer.status,
        "reason": answer.reason,
        "message": answer.message,
        "lastTransitionTime": rfc3339(now)
        if flipped or before is None
        else before["lastTransitionTime"],
        "observedGeneration": situation.observed.worker.generation,
    }


def _ready(situation: Situation) -> Answer:
    target = situation.target
    if situation.paused:
        return Answer(
            "False", "Paused", "no task is started: spec.paused is true; set it to false to go on"
        )
    if situation.problem is not None:
        return Answer(
            "False", situation.problem.reason, situation.problem.message + _still_served(situation)
        )
    if target is None:
        return Answer("False", "NoTarget", "there is no revision to run")
    numbers = _numbers(situation)
    if target.promoted_at is None and situation.serving is None:
        return Answer("False", "Starting", f"{target.version} is starting: {numbers}")
    if target.promoted_at is None or situation.replacing:
        return Answer(
            "False",
            "RollingOut",
            f"{target.version} is coming up: {numbers}{_still_served(situation)}",
        )
    if situation.desired == 0:
        return Answer("True", "Idle", f"{target.version} is scaled to zero: nothing is to be done")
    if situation.ready < situation.desired:
        return Answer("True", "Scaling", f"{target.version}: {numbers}")
    return Answer("True", "Running", f"{target.version}: {numbers}")


def _available(situation: Situation) -> Answer:
    lead = situation.lead
    if situation.paused:
        return Answer("False", "Paused", "no task is started: spec.paused is true")
    if isinstance(situation.observed.queue, Unreachable):
        return Answer("False", "QueueUnreachable", situation.observed.queue.message)
    if situation.ready > 0:
        version = f" by {lead.version}" if lead else ""
        return Answer("True", "WorkersReady", f"tasks are served{version}: {_numbers(situation)}")
    if lead is not None and situation.desired == 0:
        return Answer(
            "True", "ScaledToZero", f"the next task starts a worker of {lead.version} at once"
        )
    if lead is not None and (situation.problem is None or lead is not situation.target):
        return Answer("True", "Scaling", f"workers of {lead.version} are starting")
    return Answer("False", "NoWorkerReady", f"no task can be served: {_numbers(situation)}")


def _reconciling(situation: Situation) -> Answer:
    if situation.problem is not None and situation.problem.stalled:
        return Answer("False", "Stalled", "waiting for a change; see condition Stalled")
    if situation.paused:
        return Answer("False", "Paused", "spec.paused is true")
    if situation.problem is not None:
        return Answer("True", situation.problem.reason, situation.problem.message)
    ready = _ready(situation)
    if ready.reason in {"Starting", "RollingOut", "Scaling"}:
        return Answer("True", ready.reason, ready.message)
    return Answer("False", "Settled", "everything is as the spec says")


def _stalled(situation: Situation) -> Answer:
    if situation.problem is not None and situation.problem.stalled:
        return Answer("True", situation.problem.reason, situation.problem.message)
    return Answer("False", "Progressing", "nothing waits for a person")


def _queue_reachable(situation: Situation) -> Answer:
    match situation.observed.queue:
        case QueueState():
            return Answer("True", "Reachable", "the queue was read")
        case Unreachable(reason=reason, message=message):
            return Answer("False", reason, message)


def _scaling_active(situation: Situation) -> Answer:
    worker = situation.observed.worker
    if isinstance(worker.spec, InvalidSpec):
        return Answer("False", "InvalidSpec", "the spec cannot be read; replicas stay as they are")
    if situation.paused:
        return Answer("False", "Paused", "spec.paused is true")
    if worker.spec.replicas is not None:
        return Answer(
            "False",
            "FixedReplicas",
            f"spec.replicas holds {worker.spec.replicas}; remove it to scale by the queue again",
        )
    if situation.replicas is not None and situation.replicas.reason in NOT_BY_DEPTH:
        reason = situation.replicas.reason
        return Answer("False", reason, NOT_BY_DEPTH[reason])
    scaling = worker.spec.scaling
    return Answer(
        "True",
        "QueueDepth",
        f"between {scaling.min_replicas} and {scaling.max_replicas} replicas, by the queue's depth",
    )


def _paused(situation: Situation) -> Answer:
    if situation.paused:
        return Answer("True", "Paused", "spec.paused is true: intake is closed")
    return Answer("False", "NotPaused", "tasks may start")


def _task_aware(situation: Situation, now: datetime) -> Answer:
    """Whether it is known which worker holds which task: what is spared, drained and gated by that."""
    observed = situation.observed
    spec, queue = observed.worker.spec, observed.queue
    if isinstance(spec, InvalidSpec):
        return Answer("Unknown", "InvalidSpec", "the spec cannot be read")
    if spec.queue.plain:
        return Answer("False", "PlainQueue", _plain(spec.queue))
    if isinstance(queue, Unreachable):
        return Answer("Unknown", "QueueUnknown", "the queue cannot be read")
    if not reporting(observed, now):
        return Answer(
            "False",
            NO_HEARTBEAT,
            "no worker has reported to Redis, although some were ready for"
            f" {format_duration(FIRST_HEARTBEAT)}: does the image run opsagent-worker? They are scaled by the"
            " queue's depth; who is busy is not known, so that none is spared",
        )
    return Answer("True", "LeasesVisible", "it is known which worker holds which task")


def _plain(queue: Queue) -> str:
    """What works for the queue of another system, and what is missing."""
    return (
        f"{queue.key} is a {queue.kind} that another system keeps: scaling by its depth, releases and this"
        " status work. Which worker is busy is not known: scaling down may stop one that works, which then has"
        " worker.drainTimeout to finish; spec.paused closes no intake but takes the workers away; dead and"
        " foreign tasks are not counted"
        + (
            ""
            if queue.kind == "Stream" or queue.in_flight_key
            else "; and without queue.inFlightKey running tasks count as none"
        )
    )


QUESTIONS: dict[str, Callable[[Situation], Answer]] = {
    "Ready": _ready,
    "Available": _available,
    "Reconciling": _reconciling,
    "Stalled": _stalled,
    "QueueReachable": _queue_reachable,
    "ScalingActive": _scaling_active,
    "Paused": _paused,
}


def _numbers(situation: Situation) -> str:
    desired = situation.desired
    return f"{situation.ready} of {desired} {'worker' if desired == 1 else 'workers'} ready"


def _still_served(situation: Situation) -> str:
    """That an earlier revision carries on, where one does."""
    serving = situation.serving
    if serving is None or situation.lead is not serving:
        return ""
    if isinstance(situation.observed.queue, Unreachable):
        return ""
    return f"; {serving.version} keeps serving"
