"""What Redis itself tells about a key, if it was told to (`notify-keyspace-events`).

It sends the name of each command that changed the key. Without that, an object is looked at when its
next visit is due.
"""

from typing import Final

from redis.asyncio import Redis

__all__ = ["adds_tasks", "keyspace_channel"]

_PREFIX: Final = "__keyspace@"

_ADDING: Final = frozenset(
    {"lpush", "rpush", "linsert", "zadd", "zincr", "xadd", "rename_to", "copy_to", "restore"}
)
"""Events of a key that may have more in it now. What takes something out is no reason to hurry."""


def keyspace_channel(redis: Redis, key: str) -> str:
    """The channel on which Redis tells what is done to `key`."""
    database = redis.connection_pool.connection_kwargs.get("db") or 0
    return f"{_PREFIX}{database}__:{key}"


def adds_tasks(channel: str, text: str) -> bool:
    """Whether a message may mean more tasks; one that is not about a key always does."""
    return text in _ADDING or not channel.startswith(_PREFIX)
