"""The events of an object: what has just changed, told once."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from opsagent_operator.decide.situation import Situation
from opsagent_operator.model.observed import Revision
from opsagent_operator.model.plan import Event

__all__ = ["events"]

ALARMING: Final = frozenset({"EmptyAfterRestart", "Fallback", "WorkersCannotStart"})
"""Reasons of decisions that people should know of, although the number may stay."""


def events(situation: Situation, after: Mapping[str, Any]) -> tuple[Event, ...]:
    """What is new in the status `after`, compared with the one that stands in the object."""
    return (
        *_release_events(situation),
        *_scaling_events(situation),
        *_condition_events(situation.observed.worker.status, after),
    )


def _release_events(situation: Situation) -> Iterator[Event]:
    target = situation.target
    if target is None:
        return
    recorded = {revision.name: revision for revision in situation.observed.revisions}
    before = recorded.get(target.name)
    if before is None:
        yield _normal("RevisionCreated", f"{target.version} comes up as {target.name}")
    elif before.number != target.number:
        yield _normal("RevisionReused", f"back to {target.version}: {target.name} as it was")
    if target.promoted_at is not None and _is_news(before, target):
        yield _normal("Promoted", f"{target.version} is ready and takes over ({target.name})")


def _is_news(before: Revision | None, target: Revision) -> bool:
    return before is None or before.promoted_at != target.promoted_at


def _scaling_events(situation: Situation) -> Iterator[Event]:
    replicas = situation.replicas
    if replicas is None:
        return
    before = situation.observed.worker.status.get("decision", {}).get("reason")
    if replicas.reason in ALARMING and replicas.reason != before:
        yield Event(type="Warning", reason=replicas.reason, message=replicas.message)
        return
    match replicas.action:
        case "ScaleUp":
            yield _normal("ScaledUp", replicas.message)
        case "ScaleDown":
            yield _normal("ScaledDown", replicas.message)
        case "Hold" | "Steady":
            return


def _condition_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    old, new = _by_type(before), _by_type(after)
    for kind, condition in new.items():
        status, reason, message = condition["status"], condition["reason"], condition["message"]
        changed = old.get(kind, {}).get("status") not in {None, status}
        match kind, status:
            case "Stalled", "True" if old.get(kind, {}).get("reason") != reason:
                yield Event(type="Warning", reason=reason, message=message)
            case "QueueReachable", "False" if old.get(kind, {}).get("reason") != reason:
                yield Event(type="Warning", reason="QueueUnreachable", message=message)
            case "QueueReachable", "True" if changed:
                yield _normal("QueueReachable", "the queue can be read again")
            case "Paused", "True" if old.get(kind, {}).get("status") != "True":
                yield _normal("Paused", message)
            case "Paused", "False" if changed:
                yield _normal("Resumed", message)


def _by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions", [])}


def _normal(reason: str, message: str) -> Event:
    return Event(type="Normal", reason=reason, message=message)
