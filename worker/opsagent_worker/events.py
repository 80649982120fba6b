"""Publishes events about tasks, as far as Redis is there to take them."""

from collections.abc import Mapping
from typing import Any, Protocol

from opsagent_queue import Event, EventPriority, EventType, Task
from opsagent_worker.redaction import Redactor


class Post(Protocol):
    """Takes an event to be sent soon, in order with everything else that is reported."""

    def __call__(self, event: Event) -> None: ...


class EventPublisher:
    def __init__(self, post: Post, *, redactor: Redactor) -> None:
        self._post = post
        self._redactor = redactor

    async def publish(
        self,
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        task: Task,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> None:
        """Publishes on both channels, as soon as Redis takes it and before the task's end is reported."""
        self.post(event_type, payload, task=task, priority=priority)

    def post(
        self,
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        task: Task,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> None:
        """The same for who cannot wait: it never blocks and never raises."""
        self._post(
            Event.new(
                event_type,
                task=task,
                payload=self._redactor.value(dict(payload)),
                priority=priority,
            )
        )
