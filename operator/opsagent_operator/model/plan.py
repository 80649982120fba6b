"""What the operator has decided to do about one `OpsAgentWorker`: `act/` carries it out, in order.

Every part is absolute and idempotent (`replicas = N`, never `+1`), so that a crash between any two
steps converges on the next visit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from opsagent_operator.model.observed import Memory

__all__ = ["Event", "ObjectKey", "Outcome", "Plan", "PodPatch"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectKey:
    """A child of the object, in the object's own namespace."""

    kind: Literal["Deployment", "ControllerRevision", "PodDisruptionBudget"]
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PodPatch:
    """Annotations of one pod that are to change; None removes one."""

    name: str
    annotations: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A Kubernetes event about the object."""

    type: Literal["Normal", "Warning"]
    reason: str
    """CamelCase, stable, documented in docs/status.md."""
    message: str
    """At most 1,024 bytes reach the API server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was decided about the number of workers."""

    action: str
    reason: str
    wanted: int
    """What the queue needs, within the bounds, before any window or step holds it back."""
    current: int
    """Replicas asked for before this visit."""
    desired: int
    """Replicas asked for from now on."""
    ready: int
    busy: int | None
    """Workers that hold tasks; None when unknown."""
    draining: int
    """Workers chosen to go that are still there."""
    victims_chosen: int = 0
    """Pods for which a Deployment was lowered in this visit."""
    victims_missed: int = 0
    """Pods that were seen to go in place of a chosen one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Steps in the order of execution: gate, drain marks, pods, apply, delete, status, events."""

    pause_intake: bool | None = None
    """What the gate in Redis shall say; None leaves it as it is."""
    drain: frozenset[str] | None = None
    """All pods that shall have a drain mark, which is renewed; None leaves the marks as they are."""
    pods: tuple[PodPatch, ...] = ()
    apply: tuple[Mapping[str, Any], ...] = ()
    """Whole manifests of children, as plain JSON; one that already holds causes no request."""
    delete: tuple[ObjectKey, ...] = ()
    status: Mapping[str, Any] | None = None
    """The whole status to write; None when what stands there is good enough for now."""
    events: tuple[Event, ...] = ()
    outcome: Outcome | None = None
    """The decision in numbers, for metrics; None when nothing could be decided."""
    requeue_after: timedelta = timedelta(seconds=30)
    at_rest: bool = False
    """Whether every later decision will be this one, as long as nothing but the time has changed."""
    memory: Memory = field(default_factory=Memory)
