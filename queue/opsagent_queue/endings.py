"""The ends of tasks, put into words for the scripts: records, events, statistics."""

import json
import uuid
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from opsagent_queue.model import Finished
from opsagent_queue.scripts import Scripts, pieces
from opsagent_queue.wire import SOURCE_AGENT, EventPriority, EventType, event_id

EVENT_ERROR_LENGTH: Final = 1000
"""Characters of an error that go into the event; the record has all of them."""

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER: Final = json.JSONEncoder(allow_nan=False)
_EVENT_BEGINNING: Final = (
    f'", "event_type": "{EventType.TASK_COMPLETED.value}", '
    f'"priority": "{EventPriority.MEDIUM.value}", "source_agent": "{SOURCE_AGENT}", "trace_id": '
)
_EVENT_END: Final = '", "metadata": {}}'


_CHANGED: Final = 2
"""What `complete` says of a task whose record is not as it was when it was claimed."""

_Arguments = tuple[str | int, ...]


class Endings:
    """Reports how tasks ended: those that succeeded by `complete`, if their records allow, others by `finish`."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def send(
        self, finished: Sequence[Finished], *, version: str, result_ttl_ms: int
    ) -> tuple[bool, ...]:
        """Of each whether it was taken; see `TaskQueue.finish`."""
        short: dict[str, dict[int, _Arguments]] = {}
        whole: dict[int, _Arguments] = {}
        for index, one in enumerate(finished):
            arguments = complete_arguments(one, version=version)
            if arguments is None:
                whole[index] = finish_arguments(one, version=version)
            else:
                short.setdefault(one.lease.owner, {})[index] = arguments
        outcomes: dict[int, int] = {}
        for owner, endings in short.items():
            outcomes |= await self._run(endings, "complete", version, result_ttl_ms, owner)
        for index, outcome in outcomes.items():
            if outcome == _CHANGED:
                whole[index] = finish_arguments(finished[index], version=version)
        outcomes |= await self._run(whole, "finish", version, result_ttl_ms, str(uuid.uuid4()))
        return tuple(outcomes[index] == 1 for index in range(len(finished)))

    async def _run(
        self, endings: Mapping[int, _Arguments], script: str, *beginning: str | int
    ) -> dict[int, int]:
        outcomes: dict[int, int] = {}
        for piece in pieces(list(endings.items())):
            arguments = chain.from_iterable(parts for _, parts in piece)
            reply = await self._scripts.run(script, *beginning, *arguments)
            outcomes |= zip((index for index, _ in piece), reply, strict=True)
        return outcomes


def finish_arguments(one: Finished, *, version: str) -> _Arguments:
    """What `finish` is told of one task. Raises `ValueError` for a result that is not JSON."""
    return (
        one.lease.task_id,
        one.lease.owner,
        one.lease.fence,
        one.status,
        f"{one.seconds:.6f}",
        "" if one.result is None else to_json(dict(one.result)),
        to_json(one.error),
        _utf8(one.error or ""),
        one.error_class or "",
        "poisoned" if one.poison else "failed",
        to_json(_payload(one, version=version)),
    )


def complete_arguments(one: Finished, *, version: str) -> _Arguments | None:
    """What `complete` is told of one task: the texts it only has to put the time of the end into.

    None where the record has to be taken apart by `finish`: the task did not succeed, or its record
    is not laid out as `json.dumps` does it, so that putting it together again would not give the
    same bytes. Raises `ValueError` for a result that is not JSON.
    """
    if one.status != "completed" or one.data is None or one.error is not None:
        return None
    record = edit_record(one.data, one) or rebuild_record(one.data, one)
    if record is None:
        return None
    kind = record.type
    event_head = (
        f'{{"event_id": "{event_id()}{_EVENT_BEGINNING}{record.trace_id}, '
        f'"task_id": {to_json(one.lease.task_id)}, "payload": {{"status": "completed", '
        f'"attempt": {one.lease.attempt}, "seconds": {round(one.seconds, 3)!r}, '
        f'"version": {to_json(version)}, "error": null, "error_class": {to_json(one.error_class)}, '
        f'"task_type": {kind}}}, "timestamp": "'
    )
    return (
        one.lease.task_id,
        one.lease.fence,
        json.loads(kind) if "\\" in kind else kind[1:-1] if kind.startswith('"') else "",
        f"{one.seconds:.6f}",
        one.data,
        record.head,
        record.tail,
        event_head,
        _EVENT_END,
    )


class CompletedRecord(NamedTuple):
    """The text of a record as it will be, and what its event repeats of it, as JSON."""

    head: str
    """Up to the time of the end."""
    tail: str
    type: str
    trace_id: str


class _Changed(msgspec.Struct):
    """What of a record changes at its end, and what the event repeats."""

    status: str
    completed_at: str
    error: msgspec.Raw
    retry_count: int
    metadata: msgspec.Raw
    type: msgspec.Raw = msgspec.Raw(b"null")
    trace_id: msgspec.Raw = msgspec.Raw(b"null")


_CHANGED_FIELDS: Final = msgspec.json.Decoder(_Changed)
_TIME: Final = "0000-time-of-the-end"
"""Stands for the time of the end while the rest is put together."""


def edit_record(data: str, one: Finished) -> CompletedRecord | None:
    """The record with the few values replaced that change, for nearly every record; else None.

    Each value to be replaced must stand in the text exactly once, and what replaces it not at all. Then
    reading the outcome shows whether the top-level ones were met: no escape spells them otherwise.
    """
    if "\\u00" in data or _TIME in data or '"completed"' in data:
        return None
    text = _replace_once(data, '"status": "in_progress"', '"status": "completed"')
    text = text and _replace_once(text, '"completed_at": null', f'"completed_at": "{_TIME}"')
    metadata = None
    if one.result is not None:
        metadata = f'{{"result": {to_json(dict(one.result))}}}'
        if metadata in data:
            return None
        text = text and _replace_once(text, '"metadata": {}', f'"metadata": {metadata}')
    if not text:
        return None
    try:
        outcome = _CHANGED_FIELDS.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if (
        outcome.status != "completed"
        or outcome.completed_at != _TIME
        or bytes(outcome.error) != b"null"
        or outcome.retry_count != one.lease.attempt - 1
        or (metadata is not None and bytes(outcome.metadata).decode() != metadata)
    ):
        return None
    head, _, tail = text.partition(_TIME)
    return CompletedRecord(
        head, tail, bytes(outcome.type).decode(), bytes(outcome.trace_id).decode()
    )


def rebuild_record(data: str, one: Finished) -> CompletedRecord | None:
    """The record taken apart and put together again; None where that would not give the same bytes."""
    fields = _take_apart(data)
    if fields is None or "completed_at" not in fields or "status" not in fields:
        return None
    metadata = _with_result(fields.get("metadata"), one.result)
    if metadata is None or "error" not in fields or "retry_count" not in fields:
        return None
    fields["status"] = '"completed"'
    fields["error"] = "null"
    fields["retry_count"] = str(one.lease.attempt - 1)
    fields["metadata"] = metadata
    # A mark that no text of JSON contains shows where the time goes.
    fields["completed_at"] = '"\0"'
    head, _, tail = _put_together(fields).partition("\0")
    return CompletedRecord(head, tail, fields.get("type", "null"), fields.get("trace_id", "null"))


def _replace_once(text: str, old: str, new: str) -> str | None:
    return text.replace(old, new) if text.count(old) == 1 else None


def to_json(value: object) -> str:
    """As `json.dumps` writes it; raises `ValueError` where it cannot, and for NaN and infinity."""
    if value is None:
        return "null"
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a task's result must be JSON: {error}") from error


def _utf8(text: str) -> str:
    """`text` with half characters spelled out: JSON has a word for them, but they cannot be sent as they are."""
    return text.encode("utf-8", "backslashreplace").decode()


def _payload(one: Finished, *, version: str) -> dict[str, object]:
    return {
        "status": one.status,
        "attempt": one.lease.attempt,
        "seconds": round(one.seconds, 3),
        "version": version,
        "error": None if one.error is None else one.error[:EVENT_ERROR_LENGTH],
        "error_class": one.error_class,
    }


def _take_apart(text: str) -> dict[str, str] | None:
    """The raw text of each value of a JSON object; None unless together they give `text` again."""
    try:
        fields = {name: bytes(raw).decode() for name, raw in _OBJECT.decode(text).items()}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return fields if _put_together(fields) == text else None


def _put_together(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join([f'"{name}": {raw}' for name, raw in fields.items()]) + "}"


def _with_result(metadata: str | None, result: Mapping[str, Any] | None) -> str | None:
    """The metadata with the result in it, or None if that needs a closer look."""
    if result is None or metadata is None:
        return metadata
    fields = {} if metadata == "{}" else _take_apart(metadata)
    if fields is None:
        return None
    fields["result"] = to_json(dict(result))
    return _put_together(fields)
