"""The orchestrator's side of the queue, byte for byte, and independent of our own client.

It speaks Redis in the order the orchestrator does: record and queue entry in one transaction, then
the announcement. That the worker understands it is proved by a producer that shares no code with it.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from redis import Redis
from redis.client import Pipeline

Priority = Literal["P0", "P1", "P2", "P3"]

SCORES: Mapping[str, float] = {"P0": 1.0, "P1": 2.0, "P2": 3.0, "P3": 4.0}


@dataclass(frozen=True, kw_only=True)
class Order:
    """A task as somebody wants it done."""

    type: str
    payload: Mapping[str, Any]
    priority: Priority = "P2"
    assigned_to: str | None = "ops"
    source: str = "system"
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True)
class Producer:
    """Enqueues under `prefix`. `redis` must decode responses."""

    redis: "Redis"
    prefix: str = "orchestrator"

    def enqueue(self, orders: Iterable[Order]) -> list[str]:
        """Enqueue each order as a task of its own, one after the other; returns their ids."""
        return [task_id for order in orders for task_id in self.enqueue_at_once([order])]

    def enqueue_at_once(self, orders: Iterable[Order]) -> list[str]:
        """The same in a single transaction: nobody ever sees a part of them."""
        with self.redis.pipeline(transaction=True) as pipe:
            tasks = [self._add(pipe, order) for order in orders]
            pipe.execute()
        for task in tasks:
            self._announce(task)
        return [str(task["task_id"]) for task in tasks]

    def _add(self, pipe: "Pipeline", order: Order) -> Mapping[str, Any]:
        now = datetime.now(UTC).isoformat()
        task: dict[str, Any] = {
            "task_id": order.task_id,
            "type": order.type,
            "priority": order.priority,
            "source": order.source,
            "status": "pending",
            "payload": dict(order.payload),
            "trace_id": str(uuid.uuid4()),
            "sla": None,
            "assigned_to": order.assigned_to,
            "created_at": now,
            "started_at": None,
            "completed_at": None,
            "parent_task_id": None,
            "child_task_ids": [],
            "metadata": {},
            "error": None,
            "retry_count": 0,
            "max_retries": 3,
        }
        pipe.hset(
            f"{self.prefix}:task:{order.task_id}",
            mapping={
                "data": json.dumps(task),
                "status": "pending",
                "created_at": now,
                "priority": order.priority,
            },
        )
        pipe.zadd(f"{self.prefix}:tasks", {order.task_id: SCORES[order.priority]})
        return task

    def _announce(self, task: Mapping[str, Any]) -> None:
        event = {
            "event_id": str(uuid.uuid4()),
            "event_type": "task.created",
            "priority": "medium",
            "source_agent": "orchestrator",
            "trace_id": task["trace_id"],
            "task_id": task["task_id"],
            "payload": {
                "task_type": task["type"],
                "priority": task["priority"],
                "assigned_to": task["assigned_to"],
            },
            "timestamp": task["created_at"],
            "metadata": {},
        }
        for channel in (f"{self.prefix}:events:task.created", f"{self.prefix}:events:*"):
            self.redis.publish(channel, json.dumps(event))
