"""The orchestrator as other programs meet it in Redis: it counts, it reads strictly, it rewrites what it likes.

Written from the wire format alone (docs/queue.md, part 1), with nothing of the queue's own code.
"""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from fixtures.strict_reader import StrictEvent, StrictTask

_FINAL = {"completed", "failed", "cancelled"}

EVENT_TYPES = (
    *("task.created", "task.started", "task.completed", "task.failed", "task.cancelled"),
    *("sla.warning", "sla.violation", "alert.triggered"),
    *("deploy.started", "deploy.succeeded", "deploy.failed", "deploy.rolled_back"),
    *("health.degraded", "health.recovered"),
)


@dataclass(frozen=True)
class Statistics:
    """What its `/stats` tells."""

    queued: int
    processing: int
    statuses: dict[str, int]


@dataclass
class Orchestrator:
    redis: Redis
    prefix: str = "orchestrator"

    async def read(self, task_id: str) -> StrictTask:
        """Fails on anything that its reader fails on, and where hash and data disagree."""
        record = await self.redis.hgetall(f"{self.prefix}:task:{task_id}")
        task = StrictTask.model_validate_json(record["data"])
        assert record["status"] == task.status
        assert record["priority"] == task.priority
        return task

    async def statistics(self) -> Statistics:
        statuses: Counter[str] = Counter()
        async for key in self.redis.scan_iter(f"{self.prefix}:task:*"):
            statuses[(await self.read(str(key).rpartition(":")[2])).status] += 1
        return Statistics(
            queued=await self.redis.zcard(f"{self.prefix}:tasks"),
            processing=await self.redis.scard(f"{self.prefix}:tasks:processing"),
            statuses=dict(statuses),
        )

    async def patch(self, task_id: str, status: str, **changes: Any) -> None:
        """`PATCH /tasks/{id}/status`: reads the data, changes it, and writes all of it anew."""
        key = f"{self.prefix}:task:{task_id}"
        data = json.loads(str(await self.redis.hget(key, "data")))
        now = datetime.now(UTC).isoformat()
        data |= {"status": status, **changes}
        if status in _FINAL:
            data["completed_at"] = now
            await self.redis.srem(f"{self.prefix}:tasks:processing", task_id)
        text = json.dumps(data)
        await self.redis.hset(key, mapping={"data": text, "status": status, "updated_at": now})


@dataclass
class Channels:
    """What arrives on each event type's channel, and on the one that is literally named `*`."""

    redis: Redis
    prefix: str = "orchestrator"
    by_type: list[StrictEvent] = field(default_factory=list)
    everything: list[StrictEvent] = field(default_factory=list)
    _reader: "asyncio.Task[None] | None" = None
    _caught_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        pubsub = self.redis.pubsub()
        names = [f"{self.prefix}:events:{kind}" for kind in (*EVENT_TYPES, "*", "marker")]
        await pubsub.subscribe(*names)
        for _ in names:
            assert await pubsub.get_message(timeout=10) is not None
        self._reader = asyncio.create_task(self._read(pubsub))

    async def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self, pubsub: Any) -> None:
        try:
            async for message in pubsub.listen():
                if message["channel"].endswith(":marker"):
                    self._caught_up.set()
                    continue
                event = StrictEvent.model_validate_json(message["data"])
                if message["channel"].endswith(":*"):
                    self.everything.append(event)
                else:
                    assert message["channel"].endswith(f":{event.event_type}")
                    self.by_type.append(event)
        finally:
            await pubsub.aclose()

    async def heard(self, *, since_start: int | None = None) -> None:
        """Waits for all that was published until now, and checks it.

        Every event came on both channels, each once, in one order, and none with another's id.
        """
        self._caught_up.clear()
        # One connection hears in order: what was published before this has arrived when this does.
        await self.redis.publish(f"{self.prefix}:events:marker", "")
        async with asyncio.timeout(10):
            await self._caught_up.wait()
        assert self.by_type == self.everything
        ids = [event.event_id for event in self.everything]
        assert len(set(ids)) == len(ids)
        assert since_start in {None, len(ids)}

    def types(self, task_id: str) -> list[str]:
        return [event.event_type for event in self.everything if event.task_id == task_id]
