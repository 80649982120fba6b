"""The orchestrator's wire format: tasks and events as the JSON text other agents read and write.

The format is given (docs/queue.md, part 1). Three rules follow from its readers:

- Enum-like fields are plain strings here, so that a value we do not know passes through unharmed.
- The orchestrator rejects unknown top-level fields, so encoding writes exactly the documented ones.
- A record is never re-encoded: the scripts edit its text in place (scripts/lib/json.lua), which
  keeps fields we do not know, empty lists and big numbers as they were. Encoding is for new tasks.
"""

import contextlib
import itertools
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self, cast

import msgspec

from opsagent_queue.errors import MalformedTaskError


class TaskType(StrEnum):
    FAQ = "faq"
    BUGFIX = "bugfix"
    DEPLOY = "deploy"
    INVESTIGATE = "investigate"
    MONITOR = "monitor"
    ALERT = "alert"
    REFACTOR = "refactor"
    FEATURE = "feature"
    KB_UPDATE = "kb_update"


class Priority(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Source(StrEnum):
    FAQ = "faq"
    OPS = "ops"
    DEV = "dev"
    USER = "user"
    SYSTEM = "system"
    WEBHOOK = "webhook"


class Status(StrEnum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"


class EventPriority(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class EventType(StrEnum):
    """`task.created` is the producer's; the others are ours to publish."""

    TASK_CREATED = "task.created"
    TASK_STARTED = "task.started"
    TASK_COMPLETED = "task.completed"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    SLA_WARNING = "sla.warning"
    SLA_VIOLATION = "sla.violation"
    DEPLOY_STARTED = "deploy.started"
    DEPLOY_SUCCEEDED = "deploy.succeeded"
    DEPLOY_FAILED = "deploy.failed"
    DEPLOY_ROLLED_BACK = "deploy.rolled_back"
    ALERT_TRIGGERED = "alert.triggered"
    HEALTH_DEGRADED = "health.degraded"
    HEALTH_RECOVERED = "health.recovered"


SOURCE_AGENT: Final = "ops"
"""Who we are in the events we publish."""

DEFAULT_SCORE: Final = 3.0
"""The score the orchestrator gives a priority it does not know."""

SCORES: Final[Mapping[str, float]] = {
    Priority.P0: 1.0,
    Priority.P1: 2.0,
    Priority.P2: 3.0,
    Priority.P3: 4.0,
}


def score(priority: str) -> float:
    """The place in the queue a priority gets: lowest is served first."""
    return SCORES.get(priority, DEFAULT_SCORE)


def now_iso() -> str:
    """This moment as the orchestrator writes times: ISO 8601 in UTC with its offset."""
    return datetime.now(UTC).isoformat()


_EVENT_IDS: Final = str(uuid.uuid4())[:24]
_EVENT_NUMBERS: Final = itertools.count(1)


def event_id() -> str:
    """A new event's id: a UUID of this process, counted up; thousands a second should cost nothing."""
    return f"{_EVENT_IDS}{next(_EVENT_NUMBERS):012x}"


def parse_time(text: str | None) -> datetime | None:
    """A wire time as an aware datetime; None if absent or not a time. No offset counts as UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Field order is the order on the wire; times are ISO 8601 text with an offset."""

    task_id: str
    type: str
    priority: str = Priority.P2.value
    source: str = Source.SYSTEM.value
    status: str = Status.PENDING.value
    payload: dict[str, Any] = {}
    trace_id: str | None = None
    sla: dict[str, Any] | None = None
    """`target`, `deadline`, `alert_threshold`, as the orchestrator put them."""
    assigned_to: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    parent_task_id: str | None = None
    child_task_ids: list[str] = []
    metadata: dict[str, Any] = {}
    error: str | None = None
    retry_count: int = 0
    """Attempts after the first."""
    max_retries: int = 3

    @classmethod
    def new(
        cls,
        *,
        type: str,  # noqa: A002 - the wire's own name for it
        payload: Mapping[str, Any],
        priority: str = Priority.P2.value,
        source: str = Source.SYSTEM.value,
        assigned_to: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_retries: int = 3,
    ) -> Self:
        """A pending task created now, with an id and a trace of its own."""
        return cls(
            task_id=str(uuid.uuid4()),
            type=type,
            priority=priority,
            source=source,
            payload=dict(payload),
            trace_id=str(uuid.uuid4()),
            assigned_to=assigned_to,
            created_at=now_iso(),
            metadata=dict(metadata or {}),
            max_retries=max_retries,
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a record's `data`, tolerating unknown enum values and unknown fields.

        Raises `MalformedTaskError` with the reason, but without the payload: it may hold secrets.
        """
        # json, at five times the cost, also reads what json.dumps may write: NaN, broken surrogates.
        with contextlib.suppress(msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return cast("Self", _TASKS.decode(text))
        try:
            return msgspec.convert(json.loads(text), cls)
        except json.JSONDecodeError as error:
            raise MalformedTaskError(f"data is not JSON: {error.msg} at {error.pos}") from None
        except (msgspec.ValidationError, RecursionError) as error:
            raise MalformedTaskError(f"data is not a task: {error}") from None

    def encode(self) -> str:
        """The wire text, byte for byte what `json.dumps` makes of the documented fields."""
        return json.dumps(msgspec.to_builtins(self))


_TASKS: Final = msgspec.json.Decoder(Task)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, as published on `<prefix>:events:<type>`."""

    event_id: str
    event_type: str
    priority: str = EventPriority.MEDIUM.value
    source_agent: str = SOURCE_AGENT
    trace_id: str | None = None
    task_id: str | None = None
    payload: dict[str, Any] = {}
    timestamp: str
    metadata: dict[str, Any] = {}

    @classmethod
    def new(
        cls,
        event_type: str,
        *,
        task: Task | None = None,
        payload: Mapping[str, Any] | None = None,
        priority: str = EventPriority.MEDIUM.value,
        source_agent: str = SOURCE_AGENT,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """An event that happens now, about `task` if there is one (its trace goes along)."""
        return cls(
            event_id=event_id(),
            event_type=event_type,
            priority=priority,
            source_agent=source_agent,
            trace_id=task.trace_id if task else None,
            task_id=task.task_id if task else None,
            payload=dict(payload or {}),
            timestamp=now_iso(),
            metadata=dict(metadata or {}),
        )

    @classmethod
    def created(cls, task: Task) -> Self:
        """The producer's announcement of a new task."""
        return cls.new(
            EventType.TASK_CREATED,
            task=task,
            payload={
                "task_type": task.type,
                "priority": task.priority,
                "assigned_to": task.assigned_to,
            },
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read an event's JSON as tolerantly as a task's. Raises `MalformedTaskError`."""
        try:
            return msgspec.convert(json.loads(text), cls)
        except (json.JSONDecodeError, msgspec.ValidationError, RecursionError) as error:
            raise MalformedTaskError(f"not an event: {error}") from None

    def encode(self) -> str:
        """The wire text, byte for byte what `json.dumps` makes of the documented fields."""
        return json.dumps(msgspec.to_builtins(self))
