"""The depth of a queue that another system keeps: a list, a sorted set or a stream of Redis.

Only ever read. Celery, RQ, arq and BullMQ keep their tasks in such keys (docs/plain-queues.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from redis.asyncio import Redis

from opsagent_queue.errors import ConfigurationError, QueueRefusedError
from opsagent_queue.scripts import run_script

__all__ = ["PlainDepth", "PlainKind", "PlainQueue"]

PlainKind = Literal["List", "SortedSet", "Stream"]

_WORDS: Final = {"zset": "sorted set"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainDepth:
    """How much work there is, read in one atomic step. A key that does not exist is empty."""

    waiting: int
    """Tasks that wait to be taken: a list's items, a sorted set's members whose score is not above the
    time in milliseconds, a stream's entries that its group has not been given."""
    delayed: int = 0
    """Members of a sorted set whose score is a later time, in milliseconds since the epoch."""
    soon: int = 0
    """How many of the delayed ones are due within the time that was asked about."""
    next_due_ms: int | None = None
    """Milliseconds until the next delayed one is due, a year at most; None when none is delayed."""
    in_flight: int | None
    """Tasks being worked on: the size of `in_flight_key`, or what a stream's group has been given and
    has not acknowledged. None when neither tells."""
    oldest_ms: int | None
    """Age in ms of a stream's oldest waiting entry, by its id; None when that is no time, and for others."""
    estimated: bool = False
    """Whether more may wait: 1,000 were counted, and the server (Redis 6.2) does not tell the lag."""
    run_id: str | None
    """Identifies this run of the Redis server; None where the server does not tell."""
    role: str | None
    """"master" or "slave", as Redis calls itself; None where the server does not tell."""
    time_ms: int
    """Redis' clock at that moment, ms since the epoch."""


class PlainQueue:
    """One key of another queue system. `redis` comes from `connect`.

    `group` is the consumer group of a stream; for the other kinds there is none. `in_flight_key` holds
    what is being worked on, as a list, set, sorted set, hash or stream; a stream's group tells that
    itself.

    Raises `ConfigurationError` for a combination that makes no sense.
    """

    def __init__(
        self,
        redis: Redis,
        kind: PlainKind,
        key: str,
        group: str | None = None,
        in_flight_key: str | None = None,
    ) -> None:
        if (kind == "Stream") != (group is not None):
            raise ConfigurationError("a Stream is read by a group; the other kinds have none")
        if group is not None and in_flight_key is not None:
            raise ConfigurationError(
                "a Stream's group tells what is in flight: there is no other key of it"
            )
        self.kind = kind
        self.key = key
        self.group = group
        self.in_flight_key = in_flight_key
        self._redis = redis

    async def read(self, *, soon_ms: int = 0) -> PlainDepth:
        """The depth now; changes nothing. `soon_ms` is how far ahead `PlainDepth.soon` looks.

        Raises:
            QueueUnavailableError: Redis cannot be reached or cannot serve at the moment.
            QueueRefusedError: it refuses; with code WRONGTYPE, one of the keys is of another type, and
                the message names it.
        """
        keys = [self.key] if self.in_flight_key is None else [self.key, self.in_flight_key]
        reply = await run_script(
            self._redis, "plain", keys, self.kind, self.group or "", max(0, soon_ms)
        )
        if reply[0] == "wrong_type":
            raise _wrong_type(*reply[1:])
        return _depth(reply)


def _depth(reply: Sequence[str | int]) -> PlainDepth:
    fields = dict(zip(map(str, reply[::2]), map(str, reply[1::2]), strict=True))
    return PlainDepth(
        waiting=int(fields["waiting"]),
        delayed=int(fields["delayed"]),
        soon=int(fields["soon"]),
        next_due_ms=_optional(fields["next_due_ms"]),
        in_flight=_optional(fields["in_flight"]),
        oldest_ms=_optional(fields["oldest_ms"]),
        estimated=fields["estimated"] == "1",
        run_id=fields["run_id"] or None,
        role=fields["role"] or None,
        time_ms=int(fields["time_ms"]),
    )


def _optional(text: str) -> int | None:
    return int(text) if text else None


def _wrong_type(key: str, found: str, expected: str) -> QueueRefusedError:
    found, expected = (_WORDS.get(word, word) for word in (found, expected))
    return QueueRefusedError(
        f"key {key} is a {found} and not a {expected.replace('zset', 'sorted set')}",
        code="WRONGTYPE",
    )
