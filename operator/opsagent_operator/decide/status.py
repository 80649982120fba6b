"""The status that tells an object's situation.

It is built as the plain JSON that is written, of the shape that `api/status.py` describes: every visit
builds one, to see whether anything is new, and the models would take longer than everything else.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from opsagent_operator.api.status import rfc3339
from opsagent_operator.decide.problem import Problem
from opsagent_operator.decide.situation import Situation
from opsagent_operator.manifests.labels import WORKER
from opsagent_operator.model.observed import QueueState, Revision

__all__ = ["status", "status_delay"]

Json = dict[str, Any]

COALESCE = timedelta(seconds=5)
"""What moves all the time (queue depth, busy workers, whether a step is held) is written at most this often."""


def status(situation: Situation, conditions: list[Mapping[str, Any]], now: datetime) -> Json:
    """The whole status as plain JSON; equal situations give equal values."""
    observed = situation.observed
    return _known(
        observedGeneration=observed.worker.generation,
        conditions=conditions,
        replicas=sum(not pod.deleting for pod in observed.pods),
        selector=f"{WORKER}={observed.worker.name}",
        ready=f"{situation.ready}/{situation.desired}",
        release=_release(situation),
        queue=_queue(situation),
        workers=_workers(situation),
        decision=_decision(situation, now),
    )


def _known(**fields: Any) -> Json:
    """The fields that are known: what is not is left out, and never written as zero."""
    return {name: value for name, value in fields.items() if value is not None}


def status_delay(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    written_at: datetime | None,
    now: datetime,
) -> timedelta | None:
    """How long the new status may wait before it is written; None when there is nothing new.

    A change that says something is due at once. When only the moving numbers moved, the write waits
    until the last one is old enough, and carries all that has come together by then.
    """
    if before == after:
        return None
    if written_at is None or _without_numbers(before) != _without_numbers(after):
        return timedelta()
    return max(timedelta(), written_at + COALESCE - now)


def _without_numbers(status: Mapping[str, Any]) -> Mapping[str, Any]:
    workers = {
        key: value
        for key, value in status.get("workers", {}).items()
        if key not in {"busy", "draining"}
    }
    decision = status.get("decision", {})
    if decision.get("action") in {"Hold", "Steady"}:  # a queue that wavers makes one of the other
        decision = {}
    # So does one of these of the other, while workers cannot start.
    conditions = [
        condition
        for condition in status.get("conditions", [])
        if condition["reason"] not in {"QueueDepth", "WorkersCannotStart"}
    ]
    return {
        **status,
        "conditions": conditions,
        "queue": sorted(status.get("queue", {})),
        "workers": workers,
        "decision": decision,
    }


def _release(situation: Situation) -> Json:
    target, lead = situation.target, situation.lead
    return _known(
        current=_revision(situation, lead) if lead else None,
        target=_revision(situation, target) if target and target is not lead else None,
        history=[
            _history_entry(revision, situation)
            for revision in sorted(_revisions(situation), key=lambda known: -known.number)
        ],
    )


def _revisions(situation: Situation) -> tuple[Revision, ...]:
    """All revisions, with the target as decided in place of the target as recorded."""
    target = situation.target
    others = situation.observed.revisions
    if target is None:
        return others
    return (target, *(revision for revision in others if revision.name != target.name))


def _revision(situation: Situation, revision: Revision) -> Json:
    return {
        "revision": revision.name,
        "version": revision.version,
        "image": revision.image,
        "replicas": situation.shares.get(revision.name, 0),
        "ready": situation.ready_of(revision),
    }


def _history_entry(revision: Revision, situation: Situation) -> Json:
    lead, target, problem = situation.lead, situation.target, situation.problem
    if lead is not None and revision.name == lead.name:
        phase = "Current"
    elif target is not None and revision.name == target.name:
        phase = "Failed" if _failed(problem) else "Progressing"
    else:
        phase = "Failed" if revision.promoted_at is None else "Retired"
    return {
        "revision": revision.name,
        "version": revision.version,
        "phase": phase,
        "at": rfc3339(revision.promoted_at or revision.created_at),
    }


def _failed(problem: Problem | None) -> bool:
    return problem is not None and problem.stalled


def _queue(situation: Situation) -> Json:
    queue = situation.observed.queue
    if not isinstance(queue, QueueState):
        return {}
    return _known(
        pending=queue.pending,
        delayed=queue.delayed,
        inFlight=queue.in_flight,
        dead=queue.dead if queue.task_aware else None,
        foreign=queue.foreign if queue.task_aware else None,
        oldestSeconds=None if queue.oldest_seconds is None else int(queue.oldest_seconds),
    )


def _workers(situation: Situation) -> Json:
    queue = situation.observed.queue if isinstance(situation.observed.queue, QueueState) else None
    return _known(
        desired=situation.desired,
        ready=situation.ready,
        busy=queue.busy_workers if queue else None,
        draining=queue.draining_workers if queue else None,
    )


def _decision(situation: Situation, now: datetime) -> Mapping[str, Any] | None:
    """The last step, or what holds the next one back; that nothing changes is no news."""
    replicas = situation.replicas
    previous: Mapping[str, Any] | None = situation.observed.worker.status.get("decision")
    if replicas is None:
        return previous
    since = None
    if previous is not None:
        if replicas.action == "Steady" and previous["action"] != "Hold":
            return previous
        same = (previous["action"], previous["reason"]) == (replicas.action, replicas.reason)
        if replicas.action == "Hold" and same:
            since = previous["at"]
    return {
        "action": replicas.action,
        "reason": replicas.reason,
        "message": replicas.message,
        "at": since or rfc3339(now),
    }
