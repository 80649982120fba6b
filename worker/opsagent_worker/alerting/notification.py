"""What is told, in words every channel can translate."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, get_args

Action = Literal["trigger", "acknowledge", "resolve"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

LONGEST_DETAIL: Final = 2000
"""Characters: what Slack allows a field, the shortest limit of any channel."""

MOST_DETAILS: Final = 25
_LONGEST_NAME: Final = 100


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


_WORDS: Final[Mapping[str, Severity]] = {
    **dict.fromkeys(("critical", "fatal", "emergency", "page", "p0"), Severity.CRITICAL),
    **dict.fromkeys(("high", "error", "major", "p1"), Severity.HIGH),
    **dict.fromkeys(("medium", "warning", "warn", "moderate", "p2"), Severity.MEDIUM),
    **dict.fromkeys(("low", "info", "minor", "notice", "debug", "ok", "p3"), Severity.LOW),
}


def read_severity(word: str) -> Severity:
    """The severity that a producer's word stands for; one that nobody knows is medium."""
    return _WORDS.get(word.strip().lower(), Severity.MEDIUM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    alert_type: str
    severity: Severity
    message: str
    action: Action = "trigger"
    dedup_key: str
    """The same for all that is told about one trouble; at most 255 characters."""
    source: str
    """What is in trouble, or who says so."""
    details: Mapping[str, str]
    task_id: str
    trace_id: str | None = None
    created_at: str | None = None
    """ISO 8601 with offset."""


def default_dedup_key(*, alert_type: str, severity: Severity, source: str, message: str) -> str:
    """The key of an alert that came without one: what says the same is the same."""
    said = json.dumps([alert_type, severity, source, message])
    return f"opsagent-{hashlib.sha256(said.encode()).hexdigest()[:32]}"


def readable_details(details: Mapping[str, Any]) -> Mapping[str, str]:
    """Details as texts, cut to what a message can carry."""
    return {
        cut(_sendable(name), _LONGEST_NAME): cut(
            _sendable(value if isinstance(value, str) else json.dumps(value)), LONGEST_DETAIL
        )
        for name, value in list(details.items())[:MOST_DETAILS]
    }


def _sendable(text: str) -> str:
    """Without half characters (lone surrogates), which JSON can carry and UTF-8 cannot."""
    return text.encode(errors="replace").decode()


def cut(text: str, longest: int) -> str:
    """`text`, or as much of its beginning as fits into `longest` characters together with an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
