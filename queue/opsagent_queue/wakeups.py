"""Waiting for work: what messages mean to whoever serves a queue.

A message only says "look again"; what there is to do is always read from the queue. That is why
every new subscription counts as a wake-up too: what was published while nobody listened is lost.
"""

from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

import msgspec
from redis.asyncio import Redis

from opsagent_queue.keys import Keys
from opsagent_queue.subscription import Message, Subscribed, Subscription
from opsagent_queue.wire import EventType


class Created(msgspec.Struct, frozen=True):
    """A new task was announced, ours or another agent's."""

    task_id: str


class Cancelled(msgspec.Struct, frozen=True):
    """A task was cancelled: whoever runs it should stop."""

    task_id: str


class Woken(msgspec.Struct, frozen=True):
    """Something may be claimable again: tasks came back, or the gate opened."""


Wakeup = Subscribed | Created | Cancelled | Woken


class _About(msgspec.Struct, frozen=True):
    """As much of an event as is of interest here."""

    task_id: str


class _Payload(msgspec.Struct, frozen=True):
    assigned_to: str | msgspec.UnsetType | None = msgspec.UNSET


class _Created(msgspec.Struct, frozen=True):
    """Whom a new task is for, as its announcement says."""

    payload: _Payload


class Announcement(msgspec.Struct, frozen=True):
    """A message on the channel of `task.created`."""

    assigned_to: str | None
    """The agent the task is for."""
    readable: bool = True
    """Whether the message says whom the task is for; what nobody can read is a reason to look."""

    @classmethod
    def read(cls, text: str) -> Self:
        try:
            agent = _CREATED.decode(text).payload.assigned_to
        except (msgspec.DecodeError, UnicodeError):
            agent = msgspec.UNSET
        return cls(None, readable=False) if agent is msgspec.UNSET else cls(agent)

    def concerns(self, agents: Collection[str]) -> bool:
        """Whether a queue with these agents may take the task; one without any takes all."""
        return not agents or not self.readable or self.assigned_to in agents


_CREATED: Final = msgspec.json.Decoder(_Created)


class Wakeups:
    """Wake-ups of one queue, to be entered with `async with` and read with `async for`.

    Yields `Subscribed` after each (re)subscription, then what it is told. Never ends and never
    raises while Redis is away; see `Subscription`.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._created = keys.channels(EventType.TASK_CREATED)[0]
        self._cancelled = keys.channels(EventType.TASK_CANCELLED)[0]
        self._subscription = Subscription(redis, (self._created, self._cancelled, keys.wake))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._subscription.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Wakeup:
        event = await anext(self._subscription)
        return self._read(event) if isinstance(event, Message) else event

    def _read(self, message: Message) -> Wakeup:
        if message.channel not in {self._created, self._cancelled}:
            verb, _, task_id = message.text.partition(" ")
            return Cancelled(task_id) if verb == "cancelled" else Woken()
        try:
            task_id = msgspec.json.decode(message.text, type=_About).task_id
        except (msgspec.DecodeError, UnicodeError):
            return Woken()  # an announcement nobody can read is a reason to look, too
        return Created(task_id) if message.channel == self._created else Cancelled(task_id)
