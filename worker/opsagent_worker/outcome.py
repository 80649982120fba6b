"""How a task's attempt can end, and the rules that decide which end a failure is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from opsagent_worker.backoff import Backoff
from opsagent_worker.errors import DeferredError, PermanentError, RetryableError

Reason = Literal["timeout", "retryable", "unexpected", "deferred"]


@dataclass(frozen=True, slots=True)
class Completed:
    result: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """For good: no further attempt."""

    error: str
    error_class: str
    cause: Exception | None = field(default=None, compare=False, repr=False)
    """What was raised, for reports to people; not redacted."""


@dataclass(frozen=True, slots=True)
class Retry:
    error: str
    reason: Reason
    delay: float
    """Seconds until the next attempt."""
    error_class: str
    counted: bool = True
    """Whether this attempt is one of those the task has."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody cancelled the task, and its handler has stopped."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """The attempt was interrupted through no fault of the task: back to the queue, not counted as an attempt."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Somebody else has the task: there is nothing to report."""


Outcome = Completed | Failed | Retry | Cancelled | HandBack | LeaseLost


class TaskTimeoutError(Exception):
    """An attempt took longer than a task may."""


def judge(error: Exception, *, attempt: int, max_attempts: int, backoff: Backoff) -> Failed | Retry:
    """The end that `error` means for the `attempt`-th (1-based) of `max_attempts` attempts.

    Permanent errors fail at once. Everything else is tried again: time-outs and what a handler calls retryable because
    it may pass, and what it did not foresee because most such errors are somebody else's trouble and the number of
    attempts is bounded. A deferred attempt costs the task none of them.
    """
    error_class = type(error).__name__
    text = _said(error) or error_class
    if isinstance(error, PermanentError):
        return Failed(text, error_class, error)
    if isinstance(error, DeferredError):
        delay = backoff.delay(1, retry_after=_seconds(error.retry_in))
        return Retry(text, "deferred", delay, error_class, counted=False)
    reason: Reason
    retry_after = None
    match error:
        case RetryableError():
            reason, retry_after = "retryable", _seconds(error.retry_after)
        case TaskTimeoutError():
            reason = "timeout"
        case _:
            reason, text = "unexpected", f"{error_class}: {text}"
    if attempt >= max_attempts:
        attempts = "1 attempt" if attempt == 1 else f"{attempt} attempts"
        return Failed(f"gave up after {attempts}: {text}", error_class, error)
    return Retry(text, reason, backoff.delay(attempt, retry_after=retry_after), error_class)


def _said(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error's own code may be wrong as well
        return "an error that cannot be put into words"


def _seconds(wait: Any) -> float | None:
    """A wait that was asked for; None if it is no number: nothing has checked what a handler says."""
    try:
        seconds = float(wait)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def allowed_attempts(*, task_max_retries: int, settings_max_attempts: int) -> int:
    """Attempts a task may have in all, at least one.

    Both sides have a say and the smaller number wins: the producer knows what its task bears, the operator what the
    systems behind it bear.
    """
    return max(1, min(task_max_retries + 1, settings_max_attempts))
