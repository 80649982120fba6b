"""The ends of tasks, put into words for the scripts: records, events, statistics."""

import json
import uuid
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

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
        one.error or "",
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
    if one.status != "completed" or one.data is None:
        return None
    fields = _take_apart(one.data)
    if fields is None or "completed_at" not in fields or "status" not in fields:
        return None
    metadata = _with_result(fields.get("metadata"), one.result)
    if metadata is None or "error" not in fields or "retry_count" not in fields:
        return None
    fields["status"] = '"completed"'
    fields["error"] = to_json(one.error)
    fields["retry_count"] = str(one.lease.attempt - 1)
    fields["metadata"] = metadata
    # A mark that no text of JSON contains shows where the time goes.
    fields["completed_at"] = '"\0"'
    head, _, tail = _put_together(fields).partition("\0")
    payload = to_json(_payload(one, version=version))
    kind = fields.get("type", "null")
    event_head = (
        f'{{"event_id": "{event_id()}{_EVENT_BEGINNING}{fields.get("trace_id", "null")}, '
        f'"task_id": {to_json(one.lease.task_id)}, '
        f'"payload": {payload[:-1]}, "task_type": {kind}}}, "timestamp": "'
    )
    return (
        one.lease.task_id,
        one.lease.fence,
        json.loads(kind) if "\\" in kind else kind[1:-1] if kind.startswith('"') else "",
        f"{one.seconds:.6f}",
        one.data,
        head,
        tail,
        event_head,
        _EVENT_END,
    )


def to_json(value: object) -> str:
    """As `json.dumps` writes it; raises `ValueError` where it cannot, and for NaN and infinity."""
    if value is None:
        return "null"
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a task's result must be JSON: {error}") from error


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
