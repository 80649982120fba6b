"""How far running tasks are, for people and the operator to read."""

import json
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from redis.asyncio import Redis

from opsagent_queue.connection import redis_errors
from opsagent_queue.keys import Keys
from opsagent_queue.model import Lease
from opsagent_queue.scripts import Scripts


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler last said about its task."""

    fraction: float | None = None
    """From 0 to 1; None: how much is left is not known."""
    message: str = ""
    worker: str = ""
    """The pod that runs the task."""
    at: str | None = None
    """When Redis received it, ISO 8601 by Redis' clock. Stamped there; ignored if sent."""


class ProgressBoard:
    """The progress of the tasks in flight: one hash, task id → JSON.

    Methods raise `QueueUnavailableError` or `QueueRefusedError`. Each may be repeated.
    """

    def __init__(self, redis: Redis, scripts: Scripts, keys: Keys) -> None:
        self._redis = redis
        self._scripts = scripts
        self._key = keys.own("progress")

    async def write(
        self, noted: Sequence[tuple[Lease, Progress]], *, ended: Iterable[Lease] = ()
    ) -> int:
        """Note the progress of tasks under a lease, and forget that of `ended` ones, in one script.

        Returns how many entries changed: what is said under a lost lease is ignored.
        """
        entries: list[str | int] = []
        for lease, progress in noted:
            entries += _whose(lease)
            entries.append(json.dumps(msgspec.to_builtins(progress)))
        for lease in ended:
            entries += _whose(lease)
            entries.append("")
        return int(await self._scripts.run("progress", *entries)) if entries else 0

    async def read(self) -> Mapping[str, Progress]:
        """The progress of every task that has any, by task id. Entries of dead workers may linger."""
        with redis_errors():
            reply = await self._redis.hgetall(self._key)
        return {
            str(id_): progress
            for id_, text in reply.items()
            if (progress := _decode(text)) is not None
        }


def _whose(lease: Lease) -> list[str | int]:
    return [lease.task_id, lease.owner, lease.fence]


def _decode(text: str | bytes) -> Progress | None:
    try:
        return msgspec.json.decode(text, type=Progress)
    except (msgspec.DecodeError, UnicodeError):
        return None
