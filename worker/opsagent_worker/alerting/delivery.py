"""Sends a notification through one channel: at least once for its task, and normally once for its key.

The key is claimed in the queue's notes before sending, and marked as sent afterwards. A failure gives the claim up. A crash
leaves it behind: the task's next attempt, which finds its own claim, sends again; other tasks wait until it ends.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from opsagent_queue import Notes, QueueError
from opsagent_worker.alerting.channel import Channel
from opsagent_worker.alerting.notification import ACTIONS, Action, Notification
from opsagent_worker.errors import TaskError

_HOLD_SECONDS: Final = 75.0
"""How long a claim lasts: longer than the longest request (`outbound.call`)."""

_OWN_SECONDS: Final = 300.0
"""How long a task knows what it has sent, where no window says so."""

_LOOK_SECONDS: Final = 0.1
"""Between two looks at a claim of another task, which nearly always sends within a second."""


@dataclass(frozen=True, slots=True)
class Sent:
    earlier: bool = False
    """By an earlier attempt of the same task."""

    def to_result(self) -> dict[str, Any]:
        return {"status": "sent"}


@dataclass(frozen=True, slots=True)
class Deduplicated:
    by: str
    """The task that has sent it."""

    def to_result(self) -> dict[str, Any]:
        return {"status": "deduplicated", "sent_by_task": self.by}


@dataclass(frozen=True, slots=True)
class NotSent:
    error: TaskError

    def to_result(self) -> dict[str, Any]:
        return {"status": "failed", "error": str(self.error)}


Delivered = Sent | Deduplicated | NotSent


@dataclass(frozen=True, slots=True)
class Delivery:
    notes: Notes
    window: float
    """Seconds in which what has the same key and action is sent once; 0: each task sends."""
    log: FilteringBoundLogger

    async def deliver(self, channel: Channel, notification: Notification) -> Delivered:
        name = self._name(channel, notification, notification.action)
        mine = f"sending {notification.task_id}"
        found = await self._claim(name, mine, task_id=notification.task_id)
        if found is not None:
            return found
        try:
            await self._await_turn(channel, name, mine)
            await channel.send(notification)
        except TaskError as error:
            await self._forget(name)
            return NotSent(error)
        await self._remember(channel, notification, name)
        return Sent()

    async def _claim(self, name: str, mine: str, *, task_id: str) -> Delivered | None:
        """None: it is ours to send. Without Redis it is as well: better twice than not at all."""
        try:
            while not await self.notes.put_if_absent(name, mine, ttl_ms=_ms(_HOLD_SECONDS)):
                match (await self.notes.get(name) or "").split(" ", 1):
                    case ["sent", by]:
                        return Sent(earlier=True) if by == task_id else Deduplicated(by)
                    case ["sending", by] if by == task_id:
                        await self.notes.put(name, mine, ttl_ms=_ms(_HOLD_SECONDS))
                        return None
                    case [""]:
                        pass  # it has ended between the two looks
                    case _:
                        await asyncio.sleep(_LOOK_SECONDS)
        except QueueError as error:
            self.log.warning("alert is sent without a look for duplicates", reason=str(error))
        return None

    async def _await_turn(self, channel: Channel, name: str, mine: str) -> None:
        wait = channel.reserve()
        if wait <= 0:
            return
        try:
            await self.notes.put(name, mine, ttl_ms=_ms(wait + _HOLD_SECONDS))
        except QueueError as error:
            self.log.warning("claim of an alert not extended", reason=str(error))
        await asyncio.sleep(wait)

    async def _remember(self, channel: Channel, notification: Notification, name: str) -> None:
        """What was triggered, resolved and is triggered again within the window is news each time."""
        others = [
            self._name(channel, notification, action)
            for action in ACTIONS
            if action != notification.action
        ]
        try:
            memory = self.window or _OWN_SECONDS
            await self.notes.put(name, f"sent {notification.task_id}", ttl_ms=_ms(memory))
            await self.notes.forget(*others)
        except QueueError as error:
            self.log.warning("alert sent, but not remembered", reason=str(error))

    async def _forget(self, name: str) -> None:
        try:
            await self.notes.forget(name)
        except QueueError as error:
            self.log.warning("claim of an alert not given up; it ends by itself", reason=str(error))

    def _name(self, channel: Channel, notification: Notification, action: Action) -> str:
        key = notification.dedup_key
        if self.window == 0:
            # Between the attempts of one task it is sent once all the same.
            key = f"{key} {notification.task_id}"
        return f"alert:{channel.name}:{action}:{hashlib.sha256(key.encode()).hexdigest()}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
