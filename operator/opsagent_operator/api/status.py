"""What the operator reports: `status` of an OpsAgentWorker.

`None` is "unknown" and is left out on the wire; it is never written as zero.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, PlainSerializer, WithJsonSchema

from opsagent_operator.api.schema import ApiModel, list_type, map_list


def rfc3339(moment: datetime) -> str:
    """`moment` as Kubernetes writes times: in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# Whole seconds in UTC, as metav1.Time is written: equal moments give equal bytes.
Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

Count = Annotated[int, Field(ge=0)]


class Condition(ApiModel):
    """One aspect of the object's state, as Kubernetes' metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What the condition is about, such as Ready."""

    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""

    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, as one CamelCase word that stays the same between releases."""

    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for people; says what to do when something is to be done."""

    last_transition_time: Timestamp
    """When status last changed."""

    observed_generation: int | None = None
    """The generation of spec this was found for."""


class RevisionStatus(ApiModel):
    """A revision and its pods."""

    revision: str
    """Name of the revision's ControllerRevision and Deployment."""

    version: str
    """The version it was made of, as in spec.version."""

    image: str
    """The image its pods run."""

    replicas: Count = 0
    """How many pods it should have."""

    ready: Count = 0
    """How many of them are ready."""


class HistoryEntry(ApiModel):
    """One revision, as the history remembers it."""

    revision: str
    """Name of the revision; what spec.pin.revision takes."""

    version: str
    """The version it was made of."""

    phase: Literal["Current", "Progressing", "Failed", "Retired"]
    """Current serves; Progressing is coming up; Failed never became ready; Retired was replaced."""

    at: Timestamp
    """When its first worker became ready, or, if none did, when it was made."""


class ReleaseStatus(ApiModel):
    """Which revision runs, and which should."""

    current: RevisionStatus | None = None
    """The revision that serves tasks."""

    target: RevisionStatus | None = None
    """The revision that is coming up, while it differs from current."""

    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=100), list_type("atomic")] = ()
    """What was released, newest first."""


class QueueStatus(ApiModel):
    """The queue as last read; a number that could not be read is absent."""

    pending: Count | None = None
    """Tasks for this worker that wait to be started."""

    delayed: Count | None = None
    """Tasks that wait for their next attempt."""

    in_flight: Count | None = None
    """Tasks that are being worked on."""

    dead: Count | None = None
    """Tasks that have failed for good."""

    foreign: Count | None = None
    """Waiting tasks that are assigned to other agents."""

    oldest_seconds: Count | None = None
    """For how many seconds the oldest waiting task has been waiting."""


class WorkersStatus(ApiModel):
    """The worker pods of all revisions."""

    desired: Count = 0
    """How many there should be."""

    ready: Count = 0
    """How many are ready."""

    busy: Count | None = None
    """How many work on at least one task; absent while no worker reports."""

    draining: Count | None = None
    """How many finish what they hold and take nothing new; absent while no worker reports."""


class Decision(ApiModel):
    """The last step of scaling or release, and why it was taken."""

    action: str
    """What was done, such as ScaleUp."""

    reason: str
    """Why, as one CamelCase word."""

    message: str
    """Why, with the numbers it was decided by."""

    at: Timestamp
    """When."""


class OpsAgentWorkerStatus(ApiModel):
    """What the operator observes; written by the operator alone."""

    observed_generation: int = -1
    """The generation of spec that this status is about; -1 until the operator has seen the object."""

    conditions: Annotated[tuple[Condition, ...], Field(max_length=32), map_list("type")] = ()
    """The object's state, aspect by aspect."""

    replicas: Count = 0
    """Worker pods that exist, of all revisions; what `kubectl scale` and autoscalers read."""

    selector: str = ""
    """Label selector of the worker pods, for the scale subresource."""

    ready: str = ""
    """Ready and desired worker pods, such as 2/3."""

    release: ReleaseStatus = ReleaseStatus()
    """Which revision runs, and which should."""

    queue: QueueStatus = QueueStatus()
    """The queue as last read."""

    workers: WorkersStatus = WorkersStatus()
    """The worker pods of all revisions."""

    decision: Decision | None = None
    """The last step of scaling or release, and why it was taken."""
