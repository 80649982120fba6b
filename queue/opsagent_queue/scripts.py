"""Loads the Lua scripts and runs them by their digest.

`scripts/<name>.lua` is one operation. Its first line names the shared pieces it stands on:

    -- include: keys clock json

Each becomes the text of `scripts/lib/<piece>.lua`, in that order, in front of the script's own.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from opsagent_queue.connection import redis_errors
from opsagent_queue.keys import Keys

_INCLUDE = "-- include:"

AT_ONCE: Final = 256
"""Tasks moved by one script call, so that none keeps Redis busy for longer than some milliseconds."""

T = TypeVar("T")


def pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items` in pieces of up to `AT_ONCE`; none for no items."""
    for first in range(0, len(items), AT_ONCE):
        yield items[first : first + AT_ONCE]


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    digest: str
    """SHA-1 in hex: the name Redis gives a loaded script."""


@cache
def load(name: str) -> Script:
    """The script of that name with the pieces it includes."""
    folder = resources.files("opsagent_queue") / "scripts"
    body = (folder / f"{name}.lua").read_text(encoding="utf-8")
    first, _, rest = body.partition("\n")
    if not first.startswith(_INCLUDE):
        raise ValueError(f"scripts/{name}.lua must begin with {_INCLUDE!r}")
    pieces = [
        (folder / "lib" / f"{piece}.lua").read_text(encoding="utf-8")
        for piece in first.removeprefix(_INCLUDE).split()
    ]
    text = "\n".join([*pieces, rest])
    return Script(text=text, digest=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run_script(redis: Redis, name: str, keys: Sequence[str], *args: str | float) -> Any:
    """The script's reply. Raises `QueueUnavailableError` or `QueueRefusedError`.

    A server that does not know the script (restarted, failed over, SCRIPT FLUSH) gets its whole
    text once, and keeps it.
    """
    script = load(name)
    with redis_errors():
        try:
            return await redis.evalsha(script.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(script.text, len(keys), *keys, *args)


class Scripts:
    """Runs scripts on one Redis for one queue's keys."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._vector = keys.vector

    async def run(self, name: str, *args: str | float) -> Any:
        """The script's reply. Raises `QueueUnavailableError` or `QueueRefusedError`."""
        return await run_script(self._redis, name, self._vector, *args)
