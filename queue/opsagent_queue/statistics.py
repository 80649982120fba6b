"""Reads what the scripts count: results per version and minute, and the tasks that ended last."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from opsagent_queue.model import Ended, Results


class _Payload(msgspec.Struct, frozen=True):
    status: str
    version: str = ""
    attempt: int | None = None
    seconds: float | None = None
    error: str | None = None
    error_class: str | None = None
    task_type: Any = None


class _Event(msgspec.Struct, frozen=True):
    """An event about the end of a task, as far as it is of interest here."""

    task_id: str
    timestamp: str
    payload: _Payload


def add_up(minutes: Iterable[Sequence[str]]) -> Results:
    """`minutes`: of each the names and values of its fields, in turn."""
    total: Counter[str] = Counter()
    for fields in minutes:
        total.update(
            {name: int(value) for name, value in zip(fields[::2], fields[1::2], strict=True)}
        )

    def under(prefix: str) -> dict[str, int]:
        return {
            name.removeprefix(prefix): number
            for name, number in sorted(total.items())
            if name.startswith(prefix)
        }

    return Results(
        ok=total["ok"],
        failed=total["failed"],
        cancelled=total["cancelled"],
        retried=total["retried"],
        crashed=total["crashed"],
        errors=under("error:"),
        ok_by_type=under("ok:"),
        failed_by_type=under("failed:"),
        run_seconds=total["us"] / 1_000_000,
        run_buckets=dict(sorted((float(bound), n) for bound, n in under("le:").items())),
    )


def read_end(text: str) -> Ended | None:
    """None for what nobody can read."""
    try:
        event = msgspec.json.decode(text, type=_Event)
    except (msgspec.DecodeError, UnicodeError):
        return None
    payload = event.payload
    return Ended(
        task_id=event.task_id,
        type=payload.task_type if isinstance(payload.task_type, str) else None,
        status=payload.status,
        version=payload.version,
        attempt=payload.attempt,
        seconds=payload.seconds,
        error=payload.error,
        error_class=payload.error_class,
        at=event.timestamp,
    )
