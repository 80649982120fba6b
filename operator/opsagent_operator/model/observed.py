"""What the operator knows about one `OpsAgentWorker` when it decides: one frozen value.

`observe/` builds it, `decide/` reads it. Absence is data (`None`, empty), and so is failure
(`Unreachable`, `InvalidSpec`): what to do in a partial outage is decided by the same pure code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec

__all__ = [
    "DeploymentState",
    "InvalidSpec",
    "Memory",
    "Observed",
    "PodState",
    "QueueState",
    "Removal",
    "Revision",
    "Unreachable",
    "Worker",
    "WorkerState",
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
    ready_at: datetime | None = None
    """When it last became ready; None while it is not."""
    deleting: bool = False
    ended: bool = False
    """Whether it will never run again, as after an eviction; its Deployment replaces it."""
    deletion_cost: int = 0
    """Its `controller.kubernetes.io/pod-deletion-cost`: of several pods the cheapest goes first."""
    protected: bool = False
    """Whether the operator has asked autoscalers of nodes to leave it where it is."""
    waiting_reason: str | None = None
    """Why the container waits: `ImagePullBackOff`, `CrashLoopBackOff`, `CreateContainerConfigError`…"""
    waiting_message: str | None = None
    exit_message: str | None = None
    """The last words of a container that ended with an error (its termination message)."""
    unschedulable_message: str | None = None
    restarts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerState:
    """What one worker pod has told about itself."""

    slots: int
    """Tasks it can run at once."""
    version: str
    draining: bool = False
    """Whether it is about to end: it has got SIGTERM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    """The queue at one moment, other agents' tasks left out."""

    pending: int
    """Tasks that could start now, delayed ones that are due included."""
    delayed: int
    """Tasks that wait for a later moment."""
    soon: int = 0
    """How many of the delayed ones are due before a pod started now would be ready."""
    next_due: timedelta | None = None
    """Until the next delayed task is due; None when none is delayed."""
    in_flight: int | None
    """Tasks that are being worked on; None where the kind of queue does not tell."""
    dead: int
    foreign: int
    """Tasks of other agents in the same queue."""
    oldest_seconds: float | None
    paused: bool
    """Whether the gate in Redis stops the intake."""
    estimated: bool = False
    """Whether `pending` is an estimate: most of the waiting tasks have not been looked at yet."""
    run_id: str | None = None
    """Identifies this run of the Redis server; None where it does not tell."""
    last_claim: int | None = None
    """The fence of the last claim, which grows with each; None where the kind of queue has none."""
    mean_seconds: float | None = None
    """What a task has lately taken on average; None when it is not asked for or nothing ended yet."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Tasks held, by pod; a pod that holds none is absent."""
    workers: Mapping[str, WorkerState] = field(default_factory=dict)
    """Workers that have given a sign of life of late, by pod."""
    marked: frozenset[str] = frozenset()
    """Pods with a drain mark: they get no more tasks."""
    task_aware: bool = True
    """Whether leases, heartbeats, drain marks and the gate exist: not for a plain list or stream."""

    @property
    def work(self) -> int:
        """Tasks that need a worker now."""
        return self.pending + (self.in_flight or 0)

    @property
    def busy_workers(self) -> int | None:
        """Worker pods that hold at least one task; None where the kind of queue does not tell."""
        return len(self.held) if self.task_aware else None

    @property
    def draining_workers(self) -> int | None:
        """Worker pods that finish what they hold and take nothing new; None as above."""
        ending = {pod for pod, worker in self.workers.items() if worker.draining}
        return len(ending | (self.marked & self.workers.keys())) if self.task_aware else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreachable:
    """The queue's state is unknown. Unknown is never zero."""

    reason: str
    """A CamelCase word: `ConnectionFailed`, `AuthenticationFailed`, `SecretNotFound`…"""
    message: str
    """What happened and what to do, without any secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """Pods that shall go because the replicas of their Deployment were lowered by that many."""

    revision: str
    pods: frozenset[str]
    others: frozenset[str]
    """Pods of the same revision that were to stay."""
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What the operator remembers of one object between visits; lost with the process, by design.

    A fresh memory makes the operator cautious, never wrong: it holds the replicas it finds for one
    stabilization window.
    """

    recommendations: tuple[tuple[datetime, int], ...] = ()
    """Replica counts that the queue needed within the stabilization window, and until when."""
    empty_since: datetime | None = None
    """Since when nothing has been to be done; None while something is."""
    asked: int | None = None
    """Replicas asked for at the last visit. A Deployment may have more: workers on their way out."""
    raised_at: datetime | None = None
    """When the number was last raised."""
    stepped_at: datetime | None = None
    """When the number was last lowered."""
    unknown_since: datetime | None = None
    """Since when the queue has been unknown; None while it is known."""
    run_id: str | None = None
    """The run of the Redis server that was read last."""
    last_claim: int | None = None
    """The fence of the last claim then."""
    waited: bool = False
    """Whether tasks waited then, for a worker or for a later moment."""
    emptied_at: datetime | None = None
    """When the queue was found empty in a new run of its server; None once that is settled."""
    silent_since: datetime | None = None
    """Since when workers have been ready of which none has reported; None when that is not so."""
    start_time: timedelta = timedelta(seconds=5)
    """From a pod's creation until it is ready, as last seen; a guess until one was."""
    draining_since: Mapping[str, datetime] = field(default_factory=dict)
    """Pods that were chosen to go, and when."""
    lowering: str = ""
    """Why the number was lowered, while workers are still being drained for it."""
    idle_since: Mapping[str, datetime] = field(default_factory=dict)
    """Pods that are protected from autoscalers although they hold no task, and since when."""
    removal: Removal | None = None
    """The pods that the last lowering of a Deployment was meant for, until it is seen which ones go."""
    status_written_at: datetime | None = None

    def updated(self, **fields: Any) -> "Memory":
        """The memory with these fields: itself where that changes nothing, as at most visits."""
        same = all(getattr(self, name) == value for name, value in fields.items())
        return self if same else replace(self, **fields)


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
    woken_by: str | None = None
    """What this visit is due to, if it was a message: `task.created`. None for a change in the cluster or a poll."""
    apply_error: str | None = None
    """Why the API server has just refused a child, in its own words; None when it did not."""
