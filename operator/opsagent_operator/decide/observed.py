"""What the operator knows about one `OpsAgentWorker` when it decides: one frozen value.

`observe/` builds it, `decide/` reads it. Absence is data (`None`, empty), and so is failure
(`Unreachable`, `InvalidSpec`): what to do in a partial outage is decided by the same pure code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec

__all__ = [
    "DeploymentState",
    "InvalidSpec",
    "Memory",
    "Observed",
    "PodState",
    "QueueState",
    "Revision",
    "Unreachable",
    "Worker",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class InvalidSpec:
    """A spec that this operator cannot read, although the API server took it."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """The custom resource itself."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: OpsAgentWorkerSpec | InvalidSpec
    status: Mapping[str, Any]
    """The status as last written, plain JSON with camelCase keys; empty before the first visit."""
    deleting: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One release, as kept in a ControllerRevision."""

    name: str
    number: int
    """The order in which revisions became the target; the highest one is the latest target."""
    version: str
    image: str
    template: Mapping[str, Any]
    """The pod template, rendered when the revision was made and never changed after."""
    created_at: datetime
    promoted_at: datetime | None = None
    """When a worker of it became ready after it was last made the target; None until then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentState:
    """The Deployment of one revision."""

    replicas: int
    """What its spec asks for."""
    ready: int
    """Pods that are ready, as its status says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PodState:
    """One worker pod."""

    name: str
    revision: str
    ready: bool
    created_at: datetime
    deleting: bool = False
    waiting_reason: str | None = None
    """Why the container waits: `ImagePullBackOff`, `CrashLoopBackOff`, `CreateContainerConfigError`…"""
    waiting_message: str | None = None
    exit_message: str | None = None
    """The last words of a container that ended with an error (its termination message)."""
    unschedulable_message: str | None = None
    restarts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    """The queue at one moment, other agents' tasks left out."""

    pending: int
    """Tasks that could start now, delayed ones that are due included."""
    delayed: int
    """Tasks that wait for a later moment."""
    in_flight: int
    dead: int
    foreign: int
    """Tasks of other agents in the same queue."""
    oldest_seconds: float | None
    paused: bool
    """Whether the gate in Redis stops the intake."""
    busy_workers: int
    """Worker pods that hold at least one task."""
    draining_workers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreachable:
    """The queue's state is unknown. Unknown is never zero."""

    reason: str
    """A CamelCase word: `ConnectionFailed`, `AuthenticationFailed`, `SecretNotFound`…"""
    message: str
    """What happened and what to do, without any secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What the operator remembers of one object between visits; lost with the process, by design.

    A fresh memory makes the operator cautious, never wrong: it holds the replicas it finds for one
    stabilization window.
    """

    recommendations: tuple[tuple[datetime, int], ...] = ()
    """Replica counts asked for by the queue within the stabilization window, oldest first."""
    busy_at: datetime | None = None
    """When work was last seen in the queue."""
    status_written_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """Everything a decision may depend on, besides the time."""

    worker: Worker
    queue: QueueState | Unreachable
    revisions: tuple[Revision, ...] = ()
    deployments: Mapping[str, DeploymentState] = field(default_factory=dict)
    """By revision name."""
    pods: tuple[PodState, ...] = ()
    memory: Memory = field(default_factory=Memory)
    apply_error: str | None = None
    """Why the API server has just refused a child, in its own words; None when it did not."""
