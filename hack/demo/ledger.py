"""What became of the tasks that were enqueued, read from the records themselves.

Nothing here believes the operator's status or a worker's counter: an id is done when the
orchestrator's record of it says so, and lost when neither that nor any place a task can be in
knows it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from redis import Redis
from redis.client import PubSub

from opsagent_queue import Keys

FINAL_EVENTS = frozenset({"task.completed", "task.failed", "task.cancelled"})


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Where tasks are at one moment: each in exactly one place."""

    completed: frozenset[str]
    failed: Mapping[str, str]
    """The error of each failed task."""
    cancelled: frozenset[str]
    waiting: frozenset[str]
    """In the queue, or waiting for their next attempt."""
    running: frozenset[str]
    lost: frozenset[str]
    """Nowhere, although not at an end."""

    @property
    def final(self) -> frozenset[str]:
        return self.completed | self.cancelled | frozenset(self.failed)

    @property
    def finished(self) -> bool:
        return not (self.waiting or self.running or self.lost)


def take_stock(redis: "Redis", keys: Keys, ids: Sequence[str]) -> Tally:
    """Look for each task of `ids`, all at the same moment."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.zrange(keys.tasks, 0, -1)
        pipe.zrange(keys.own("delayed"), 0, -1)
        pipe.smembers(keys.processing)
        for task_id in ids:
            pipe.hmget(keys.record(task_id), "status", "data")
        queued, delayed, processing, *records = pipe.execute()
    places: dict[str, set[str]] = {
        place: set() for place in ("completed", "failed", "cancelled", "waiting", "running", "lost")
    }
    errors = dict[str, str]()
    waiting = {*queued, *delayed}
    for task_id, (status, data) in zip(ids, records, strict=True):
        if task_id in processing:
            places["running"].add(task_id)
        elif task_id in waiting:
            places["waiting"].add(task_id)
        elif status == "failed":
            errors[task_id] = str(json.loads(data)["error"])
        else:
            places[status if status in {"completed", "cancelled"} else "lost"].add(task_id)
    return Tally(
        completed=frozenset(places["completed"]),
        failed=errors,
        cancelled=frozenset(places["cancelled"]),
        waiting=frozenset(places["waiting"]),
        running=frozenset(places["running"]),
        lost=frozenset(places["lost"]),
    )


def fingerprint(redis: "Redis", keys: Keys, ids: Sequence[str]) -> Mapping[str, Any]:
    """Everything Redis holds about each task: equal fingerprints mean that nobody touched it."""
    return {
        task_id: (redis.zscore(keys.tasks, task_id), redis.hgetall(keys.record(task_id)))
        for task_id in ids
    }


@dataclass
class Announcements:
    """What workers publish: the orchestrator's view of who started and finished what.

    `pubsub` is subscribed before the first task is enqueued.
    """

    pubsub: PubSub
    started: Counter[str] = field(default_factory=Counter)
    """Attempts begun, by task."""
    ended: Counter[str] = field(default_factory=Counter)
    """Ends announced, by task: more than one would be a task done twice."""
    first_start: datetime | None = None

    @classmethod
    def of(cls, redis: "Redis", keys: Keys) -> "Announcements":
        pubsub = redis.pubsub()  # type: ignore[no-untyped-call] # not annotated there
        _, every_event = keys.channels("any")
        pubsub.subscribe(every_event)
        return cls(pubsub)

    def read(self) -> None:
        """Take in what has been announced since the last time; does not wait."""
        while (message := self.pubsub.get_message(timeout=0.0)) is not None:
            if message["type"] == "message":
                self._take(json.loads(message["data"]))

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, task_id = event["event_type"], event["task_id"]
        if kind == "task.started":
            self.started[task_id] += 1
            self.first_start = self.first_start or datetime.fromisoformat(event["timestamp"])
        elif kind in FINAL_EVENTS:
            self.ended[task_id] += 1
