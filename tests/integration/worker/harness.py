"""The real worker as a process of its own, and the conditions tests wait for."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self

import httpx
import msgspec
from redis.asyncio import Redis

from opsagent_queue import Event, Task, TaskQueue

WORKER: Final = "prod/ops-agent"
TOKEN: Final = "vercel-token-of-the-test"
TEAM: Final = "team_of_the_test"

DEADLINE_SECONDS: Final = 90.0
"""Far beyond what anything here takes; a test that waits this long has failed."""


async def eventually(
    condition: Callable[[], Awaitable[bool] | bool],
    *,
    what: str,
    deadline: float = DEADLINE_SECONDS,
) -> None:
    """Returns as soon as `condition` holds; fails with `what` was awaited otherwise."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer is True or (not isinstance(answer, bool) and await answer):
            return
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:g} s in vain until {what}")
        await asyncio.sleep(0.01)


def monitor(url: str) -> Task:
    """A task that takes as long as this URL takes to answer."""
    return Task.new(type="monitor", payload={"url": url}, assigned_to="ops")


async def next_attempt_ms(queue: TaskQueue) -> int:
    """In how many ms the one task that is tried again later is due, once there is one."""

    async def delayed() -> bool:
        return (await queue.snapshot()).delayed == 1

    await eventually(delayed, what="the task waits for its next attempt")
    due_ms = (await queue.snapshot()).next_due_ms
    assert due_ms is not None
    return due_ms


class WorkerProcess:
    """One `python -m opsagent_worker`; its log is read as it is written."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        """Everything it wrote, line by line, stderr included."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "opsagent_worker"],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            if line.startswith("{"):
                self.log.append(json.loads(line))

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in list(self.log) if line["event"] == event]

    async def started(self) -> Self:
        """Waits until it has reached the queue."""

        async def ready() -> bool:
            if self._process.poll() is not None:
                raise AssertionError(f"the worker ended:\n{''.join(self.output)}")
            return bool(self.logged("worker started")) and (await self.get("/readyz"))[0] == 200

        await eventually(ready, what="the worker is ready")
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.logged('worker started')[0]['port']}"

    async def get(self, path: str) -> tuple[int, str]:
        async with httpx.AsyncClient() as client:
            response = await client.get(self.url + path)
            return response.status_code, response.text

    async def metric(self, sample: str) -> float:
        """The value of one sample, such as `opsagent_worker_slots` or `name{label="value"}`; 0 while it is absent."""
        return (await self.metrics()).get(sample, 0.0)

    async def metrics(self) -> Mapping[str, float]:
        """All samples at one moment."""
        _, text = await self.get("/metrics")
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def counted(self, sample: str, number: int = 1) -> None:
        """Wait until `sample` has that value: what a worker did may be seen before it has counted it."""

        async def is_so() -> bool:
            return await self.metric(sample) == number

        await eventually(is_so, what=f"{sample} is {number}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def exit_code(self) -> int:
        await eventually(lambda: not self.running, what="the worker has ended")
        self._reader.join()
        return self._process.wait()

    def destroy(self) -> None:
        """Ends it, whatever state the test left it in."""
        if self.running:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class EventLog:
    """Every event published on the queue's channels, in order of arrival, from `start` to `stop`."""

    def __init__(self, client: Redis, *, prefix: str = "orchestrator") -> None:
        self.events: list[Event] = []
        self.by_type_channel: list[str] = []
        """The channel of each event that came on its type's own channel."""
        self._pubsub = client.pubsub()
        self._all = f"{prefix}:events:*"
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        # As a pattern it matches every event's own channel, and the channel that is literally named like it.
        await self._pubsub.psubscribe(self._all)
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped

    async def _read(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] != "pmessage":
                continue
            if message["channel"] == self._all:
                self.events.append(Event.decode(message["data"]))
            else:
                self.by_type_channel.append(message["channel"].rpartition(":")[2])

    def types(self, task_id: str) -> list[str]:
        return [event.event_type for event in self.events if event.task_id == task_id]

    async def published(self, event_type: str, *, task_id: str) -> Event:
        """The task's event of this type, once it is there; fails if there are several."""
        await eventually(
            lambda: event_type in self.types(task_id), what=f"{event_type} is published"
        )
        (event,) = (
            event
            for event in self.events
            if event.event_type == event_type and event.task_id == task_id
        )
        return event


class Records:
    """What the orchestrator sees: the records of tasks."""

    def __init__(self, client: Redis, queue: TaskQueue) -> None:
        self._client = client
        self._queue = queue

    async def task(self, task_id: str) -> Task:
        return Task.decode(str(await self._client.hget(self._queue.keys.record(task_id), "data")))

    async def status(self, task_id: str) -> str:
        return str(await self._client.hget(self._queue.keys.record(task_id), "status"))

    async def rewrite(self, task_id: str, *, status: str) -> None:
        """As the orchestrator does it when it is told to change the status: it publishes nothing."""
        task = await self.task(task_id)
        await self._client.hset(
            self._queue.keys.record(task_id),
            mapping={
                "data": msgspec.structs.replace(task, status=status).encode(),
                "status": status,
            },
        )

    async def ended(self, *task_ids: str) -> list[Task]:
        """The tasks, once all of them are completed, failed or cancelled."""

        async def all_ended() -> bool:
            statuses = [await self.status(task_id) for task_id in task_ids]
            return all(status in {"completed", "failed", "cancelled"} for status in statuses)

        await eventually(all_ended, what="every task has ended")
        return [await self.task(task_id) for task_id in task_ids]

    async def run(self, task: Task) -> Task:
        """Enqueues the task; returns it as it ended."""
        await self._queue.enqueue(task)
        return await self.finished(task)

    async def finished(self, task: Task) -> Task:
        (ended,) = await self.ended(task.task_id)
        return ended


class Door:
    """What handlers in awkward_handlers.py wait at, until the test opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        self.path.touch()


class StartWorker(Protocol):
    def __call__(self, **environment: str) -> WorkerProcess: ...
