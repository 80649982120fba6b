"""Puts many tasks into a queue at once, in the orchestrator's form."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from redis import Redis

from opsagent_queue import Event, Keys, Task, score

_TOGETHER = 500
"""Tasks sent in one pipeline."""

WORKER = "benchmarks/worker"
"""The OpsAgentWorker whose queue is measured."""

KEYS = Keys(prefix="orchestrator", worker=WORKER)


def fill(
    redis: Redis,
    count: int,
    *,
    type_: str,
    priority: str = "P2",
    assigned_to: str = "ops",
    payload: Callable[[], Mapping[str, Any]] = dict,
    keys: Keys = KEYS,
) -> list[str]:
    """Enqueue `count` tasks, oldest first; returns their ids in that order.

    `payload` makes one for each. They are not announced: this is what waits when a worker starts.
    """
    ids = list[str]()
    for size in _portions(count):
        with redis.pipeline(transaction=False) as pipe:
            for _ in range(size):
                task = Task.new(
                    type=type_, payload=payload(), priority=priority, assigned_to=assigned_to
                )
                pipe.hset(
                    keys.record(task.task_id),
                    mapping={
                        "data": task.encode(),
                        "status": task.status,
                        "created_at": task.created_at or "",
                        "priority": task.priority,
                    },
                )
                pipe.zadd(keys.tasks, {task.task_id: score(task.priority)})
                ids.append(task.task_id)
            pipe.execute()
    return ids


def announce(
    redis: Redis, ids: Sequence[str], *, keys: Keys, type_: str, assigned_to: str = "ops"
) -> float:
    """Publish `task.created` of tasks that wait already; returns when, in seconds since the epoch."""
    task = Task.new(type=type_, payload={}, assigned_to=assigned_to)
    with redis.pipeline(transaction=False) as pipe:
        for task_id in ids:
            event = Event.created(msgspec.structs.replace(task, task_id=task_id))
            for channel in keys.channels(event.event_type):
                pipe.publish(channel, event.encode())
        began = time.time()
        pipe.execute()
    return began


def look(redis: Redis, *, keys: Keys, assigned_to: str) -> None:
    """Have the operator look at a queue at once, by announcing a task that does not exist."""
    announce(redis, [str(uuid.uuid4())], keys=keys, type_="monitor", assigned_to=assigned_to)


def _portions(count: int) -> Iterator[int]:
    for first in range(0, count, _TOGETHER):
        yield min(_TOGETHER, count - first)
