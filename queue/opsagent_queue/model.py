"""What the queue's operations take and return."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from opsagent_queue.wire import Task

FinalStatus = Literal["completed", "failed", "cancelled"]

Cancellation = Literal["cancelled", "cancelling", "ended", "unknown"]
"""What became of a wish to cancel: ended now; its worker has been told; it had ended before; there is
no readable record of it, or it is another agent's."""


# Structs rather than dataclasses where thousands are made in a second: they cost a third.


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The right to run one task until the lease's deadline: what every later move must show."""

    task_id: str
    owner: str
    """The pod that claimed it."""
    fence: int
    """Grows with every claim made on this queue; a lease that was lost never matches again."""
    attempt: int
    """1-based: how often a handler has tried this task, this time included."""
    crashes: int
    """How often a worker died or went silent while holding it; never counted as an attempt."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    task: Task
    lease: Lease
    data: str
    """The record's JSON text as the claim left it. Shown at the end, it spares Redis work."""


class ClaimResult(msgspec.Struct, frozen=True, kw_only=True):
    claims: tuple[Claim, ...]
    """In the order to start them."""
    paused: bool
    """The gate is closed: nothing is handed out, whatever is waiting."""
    next_due_ms: int | None
    """Milliseconds until the next delayed task is due; None when none is delayed."""
    more: bool
    """There may be tasks that nobody has looked at yet: claim again at once."""
    draining: bool
    """The owner has a drain mark: nothing is handed out to it. Claims, if any, are those of the same token before."""


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    lost: frozenset[str]
    """Ids whose lease is somebody else's by now, or nobody's."""
    cancelled: frozenset[str]
    """Ids still held, and extended, whose record says that the task was cancelled."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a task, as its worker reports it."""

    lease: Lease
    status: FinalStatus
    seconds: float
    """How long the attempt took."""
    result: Mapping[str, Any] | None = None
    """What goes to the record's `metadata.result`; must be JSON."""
    error: str | None = None
    error_class: str | None = None
    data: str | None = None
    """`Claim.data`: while nobody rewrote the record, it need not be taken apart again."""
    poison: bool = False
    """Failed because it harms its worker: the dead letter says so."""


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt that is to be followed by another one."""

    lease: Lease
    delay_ms: int
    error: str
    error_class: str | None = None
    seconds: float = 0.0
    """How long the attempt took."""
    counted: bool = True
    """False for one that never really began: the task has as many attempts left as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    requeued: int
    """Tasks whose lease had expired and that wait again, with their original score."""
    dead: int
    """Tasks given up because they took down their worker too often."""
    promoted: int
    """Delayed tasks that became due and wait again."""
    next_expiry_ms: int | None = None
    """Milliseconds until the next lease expires, unless it is renewed; None while there is none."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells about itself, kept as JSON under its pod's name."""

    version: str
    revision: str = ""
    slots: int
    """Tasks it can run at once."""
    busy: int = 0
    """Tasks it runs now."""
    draining: bool = False
    started: str = ""
    """When the process started, ISO 8601 with offset."""
    cpu_percent: float | None = None
    """Of one core, by this process."""
    memory_bytes: int | None = None
    """Resident memory of this process."""
    cpu_limit_cores: float | None = None
    """What the container may use; None: as much as there is, or it is not known."""
    cpu_limit_percent: float | None = None
    """What the container uses, of its limit."""
    memory_limit_bytes: int | None = None
    memory_limit_percent: float | None = None
    running: dict[str, int] = {}
    """Tasks it runs now, by type."""
    seen_ms: int | None = None
    """When Redis received it, ms since the epoch by Redis' clock. Stamped there; ignored if sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything the operator needs to know about the queue, read in one atomic step."""

    pending: int
    """Tasks of ours that wait to be claimed, delayed ones that are due included."""
    delayed: int
    """Tasks of ours that wait for their back-off to end."""
    soon: int = 0
    """How many of the delayed ones are due within the time that was asked about."""
    next_due_ms: int | None
    """Milliseconds until the next delayed task is due (0 = overdue); None when none is delayed."""
    in_flight: int
    """Tasks under a lease, expired ones included until they are reaped."""
    dead: int
    foreign: int
    """Waiting tasks of other agents, and unassigned ones while a filter is set."""
    orphaned: int
    """Ids whose record is missing or unreadable."""
    oldest_ms: int | None
    """Age of the oldest waiting task of ours in ms; None when none waits or no age is known."""
    paused: bool
    time_ms: int
    """Redis' clock at the moment of the snapshot, ms since the epoch."""
    run_id: str | None
    """Identifies this run of the Redis server; None where the server does not tell."""
    role: str | None = None
    """"master" or "slave", as Redis calls itself; None where the server does not tell."""
    fence: int = 0
    """That of the last claim; it grows with each. 0 before the first."""
    unknown: int = 0
    """Waiting tasks that the index does not know, at least. `TaskQueue.index` makes it know them."""
    estimated: bool = False
    """More than one in a hundred waiting tasks is unknown to the index: `pending` and `foreign` are estimates."""
    pending_by_type: Mapping[str, int] = field(default_factory=dict)
    """Waiting tasks of ours by type, without due delayed ones. Under "": those of unknown type."""
    busy: Mapping[str, int] = field(default_factory=dict)
    """Leases held, by pod. A pod that holds none is absent."""
    workers: Mapping[str, Heartbeat] = field(default_factory=dict)
    """Last heartbeat of each pod that has not been forgotten."""
    marked: frozenset[str] = frozenset()
    """Pods with a drain mark: no claim hands out anything to them."""
    mean_seconds: float | None = None
    """Mean run time of what ended ok or failed under the versions asked about; None when nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What one version finished in some minutes."""

    ok: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    """Attempts that failed and are followed by another one."""
    crashed: int = 0
    """Leases that expired: a worker died or went silent."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failed, retried and crashed attempts by the class of their error."""
    ok_by_type: Mapping[str, int] = field(default_factory=dict)
    failed_by_type: Mapping[str, int] = field(default_factory=dict)
    run_seconds: float = 0.0
    """Time the tasks that ended ok or failed took in all."""
    run_buckets: Mapping[float, int] = field(default_factory=dict)
    """How many of those took up to that many seconds, and longer than the next lower bound."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A task that ended lately."""

    task_id: str
    type: str | None
    status: str
    version: str
    attempt: int | None
    seconds: float | None
    """None when its worker died."""
    error: str | None
    """Its first 1,000 characters."""
    error_class: str | None
    at: str
    """ISO 8601 by Redis' clock."""
