"""What the operator has decided to do about one `OpsAgentWorker`: `act/` carries it out, in order.

Every part is absolute and idempotent (`replicas = N`, never `+1`), so that a crash between any two
steps converges on the next visit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from opsagent_operator.decide.observed import Memory

__all__ = ["Event", "ObjectKey", "Plan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectKey:
    """A child of the object, in the object's own namespace."""

    kind: Literal["Deployment", "ControllerRevision"]
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A Kubernetes event about the object."""

    type: Literal["Normal", "Warning"]
    reason: str
    """CamelCase, stable, documented in docs/status.md."""
    message: str
    """At most 1,024 bytes reach the API server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Steps in the order of execution: gate, apply, delete, status, events."""

    pause_intake: bool | None = None
    """What the gate in Redis shall say; None leaves it as it is."""
    apply: tuple[Mapping[str, Any], ...] = ()
    """Whole manifests of children, as plain JSON; one that already holds causes no request."""
    delete: tuple[ObjectKey, ...] = ()
    status: Mapping[str, Any] | None = None
    """The whole status to write; None when what stands there is good enough for now."""
    events: tuple[Event, ...] = ()
    requeue_after: timedelta = timedelta(seconds=30)
    memory: Memory = field(default_factory=Memory)
