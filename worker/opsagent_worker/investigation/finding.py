"""What an investigation makes of what it saw, and what should be done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Severity = Literal["critical", "warning"]

ActionKind = Literal[
    "restore_service",
    "renew_certificate",
    "resume_queue",
    "add_workers",
    "look_at_dead_letters",
    "find_what_removes_records",
    "relieve_redis",
    "roll_back_worker",
    "roll_back_deployment",
    "look_at_deployment",
    "check_dependency",
    "look_at_error",
    "look_again",
    "none",
]

ROLLBACKS: Final[frozenset[ActionKind]] = frozenset({"roll_back_worker", "roll_back_deployment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    kind: ActionKind
    what: str
    """For people: one imperative."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """For programs: what it is to be done to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    rule: str
    """Name of the rule that found it."""
    severity: Severity
    confidence: float
    """From 0 to 1: how likely it is that the action is the right one."""
    what: str
    evidence: tuple[str, ...] = ()
    action: Action

    def to_result(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    action: Action
    reason: str
    severity: Severity | None
    """None: there is nothing to do."""
    confidence: float
    alternatives: tuple[Action, ...] = ()
    """What the next findings ask for."""

    def to_result(self) -> dict[str, Any]:
        return asdict(self)


_MOST_ALTERNATIVES: Final = 3


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """The most severe first, and of those the surest; otherwise in the order of the rules."""
    return sorted(findings, key=lambda one: (one.severity != "critical", -one.confidence))


def decide(findings: Sequence[Finding]) -> Decision:
    """The action that the first of the ranked findings asks for."""
    if not findings:
        nothing = Action(kind="none", what="nothing to do: everything in sight looks normal")
        return Decision(
            action=nothing, reason="no rule found anything", severity=None, confidence=1.0
        )
    first, *others = ranked(findings)
    actions = list(dict.fromkeys(one.action.what for one in others))
    by_text = {one.action.what: one.action for one in others}
    alternatives = [by_text[text] for text in actions if text != first.action.what]
    return Decision(
        action=first.action,
        reason=first.what,
        severity=first.severity,
        confidence=first.confidence,
        alternatives=tuple(alternatives[:_MOST_ALTERNATIVES]),
    )
