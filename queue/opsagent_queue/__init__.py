"""The queue contract: key names, wire format, Lua scripts and a typed asyncio client.

Knows Redis and nothing else; the worker and the operator both stand on it. See docs/queue.md.
"""

from opsagent_queue.connection import connect
from opsagent_queue.dead_letters import DeadLetter, Refusal, Replayed
from opsagent_queue.errors import (
    ConfigurationError,
    MalformedTaskError,
    QueueError,
    QueueRefusedError,
    QueueUnavailableError,
)
from opsagent_queue.keys import Keys
from opsagent_queue.model import (
    Cancellation,
    Claim,
    ClaimResult,
    Ended,
    FinalStatus,
    Finished,
    Heartbeat,
    Lease,
    Reaped,
    Renewed,
    Results,
    Retried,
    Snapshot,
)
from opsagent_queue.notes import Notes
from opsagent_queue.plain import PlainDepth, PlainKind, PlainQueue
from opsagent_queue.progress import Progress, ProgressBoard
from opsagent_queue.subscription import Message, Subscribed, Subscription
from opsagent_queue.task_queue import DEFAULT_RESULT_TTL_MS, MAX_CRASHES, TaskQueue
from opsagent_queue.url import passwords
from opsagent_queue.wakeups import Announcement, Cancelled, Created, Wakeup, Wakeups, Woken
from opsagent_queue.wire import (
    Event,
    EventPriority,
    EventType,
    Priority,
    Source,
    Status,
    Task,
    TaskType,
    now_iso,
    parse_time,
    score,
)

__all__ = [
    "DEFAULT_RESULT_TTL_MS",
    "MAX_CRASHES",
    "Announcement",
    "Cancellation",
    "Cancelled",
    "Claim",
    "ClaimResult",
    "ConfigurationError",
    "Created",
    "DeadLetter",
    "Ended",
    "Event",
    "EventPriority",
    "EventType",
    "FinalStatus",
    "Finished",
    "Heartbeat",
    "Keys",
    "Lease",
    "MalformedTaskError",
    "Message",
    "Notes",
    "PlainDepth",
    "PlainKind",
    "PlainQueue",
    "Priority",
    "Progress",
    "ProgressBoard",
    "QueueError",
    "QueueRefusedError",
    "QueueUnavailableError",
    "Reaped",
    "Refusal",
    "Renewed",
    "Replayed",
    "Results",
    "Retried",
    "Snapshot",
    "Source",
    "Status",
    "Subscribed",
    "Subscription",
    "Task",
    "TaskQueue",
    "TaskType",
    "Wakeup",
    "Wakeups",
    "Woken",
    "connect",
    "now_iso",
    "parse_time",
    "passwords",
    "score",
]
