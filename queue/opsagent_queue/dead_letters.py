"""Tasks that failed for good: looking at them, giving them another life, forgetting them."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from opsagent_queue.errors import MalformedTaskError
from opsagent_queue.scripts import Scripts
from opsagent_queue.wire import Task

Refusal = Literal["not dead", "no record", "completed", "cancelled"]
"""Why a task cannot be replayed: it is no dead letter (any more); its record is gone or unreadable; or
somebody has declared it completed or cancelled since. In all but the first case the letter stays."""

_AT_ONCE: Final = 500
"""Ids given to one script call, so that none keeps Redis busy for longer than some milliseconds."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A task that failed for good, and what is known of its end."""

    task_id: str
    died_ms: int
    """When, in ms since the epoch by Redis' clock."""
    reason: str
    """`failed` by its handler or for want of attempts, or `poisoned`: it took its workers down."""
    error: str
    error_class: str
    attempts: int
    crashes: int
    versions: tuple[str, ...]
    """Versions of the worker that tried it, in order."""
    task: Task | None
    """Its record; None if that is gone or unreadable."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    replayed: frozenset[str]
    """Ids that wait again."""
    refused: Mapping[str, Refusal]
    """All other ids that were asked for, each with the reason."""


class _Letter(msgspec.Struct, frozen=True):
    """A letter as the scripts write it."""

    reason: str = "unknown"
    error: str = ""
    error_class: str = ""
    attempts: int = 0
    crashes: int = 0
    versions: list[str] | dict[str, str] = []
    """Lua writes an empty list as {}."""


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def page(self, *, limit: int, offset: int) -> tuple[DeadLetter, ...]:
        """Up to `limit` letters, the newest first, leaving out the first `offset`."""
        if limit < 1 or offset < 0:
            raise ValueError("limit must be at least 1, and offset not negative")
        rows = await self._scripts.run("dead_letters", offset, limit)
        return tuple(_decode(*row) for row in rows)

    async def replay(self, ids: Sequence[str]) -> Replayed:
        """Let these tasks wait again as if they were new, with their original score.

        `retry_count` is 0, `error` null, crashes are forgotten, the record expires no more, and
        `task.created` is published. Nothing is dropped: what cannot be replayed is reported.
        """
        replayed: set[str] = set()
        refused: dict[str, Refusal] = {}
        for batch in _batches(ids):
            outcomes = await self._scripts.run("replay", str(uuid.uuid4()), *batch)
            for task_id, outcome in zip(batch, outcomes, strict=True):
                if outcome == 1:
                    replayed.add(task_id)
                else:
                    refused[task_id] = outcome
        return Replayed(replayed=frozenset(replayed), refused=refused)

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget these letters and return how many there were; the records stay until they expire."""
        return sum(
            [
                int(await self._scripts.run("drop", str(uuid.uuid4()), *batch))
                for batch in _batches(ids)
            ]
        )


def _batches(ids: Sequence[str]) -> list[list[str]]:
    if isinstance(ids, str):
        raise ValueError("ids is a list of task ids")  # noqa: TRY004 - a str is a sequence of str
    distinct = list(dict.fromkeys(ids))
    return [distinct[first : first + _AT_ONCE] for first in range(0, len(distinct), _AT_ONCE)]


def _decode(task_id: str, died_ms: str, letter: str, data: str) -> DeadLetter:
    try:
        known = msgspec.json.decode(letter.encode(errors="replace"), type=_Letter)
    except msgspec.DecodeError:
        known = _Letter()  # lost or rewritten by other hands: the id and its task still count
    try:
        task = Task.decode(data)
    except MalformedTaskError:
        task = None
    return DeadLetter(
        task_id=task_id,
        died_ms=int(float(died_ms)),
        reason=known.reason,
        error=known.error,
        error_class=known.error_class,
        attempts=known.attempts,
        crashes=known.crashes,
        versions=tuple(known.versions),
        task=task,
    )
