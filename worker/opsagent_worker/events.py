"""Publishes events about tasks, as far as Redis is there to take them."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog

from opsagent_queue import Event, EventPriority, EventType, QueueError, Task, TaskQueue
from opsagent_worker.metrics import Metrics
from opsagent_worker.redaction import Redactor

log = structlog.get_logger()

# Subscribers miss what is published while they are away: an event is not worth holding a task up for.
_PATIENCE_SECONDS: Final = 2.0


class EventPublisher:
    def __init__(self, queue: TaskQueue, *, metrics: Metrics, redactor: Redactor) -> None:
        self._queue = queue
        self._metrics = metrics
        self._redactor = redactor

    async def publish(
        self,
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        task: Task,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> None:
        """Publishes on both channels. An event that cannot be is counted and dropped; nothing is raised."""
        event = Event.new(
            event_type, task=task, payload=self._redactor.value(dict(payload)), priority=priority
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._queue.publish([event])
        except (QueueError, TimeoutError) as error:
            self._metrics.dropped_events.labels(event_type).inc()
            log.warning("event dropped", event_type=event_type, reason=str(error))
