"""Deadlines: told when they are near, told when they have passed, each once."""

import asyncio
import math
from typing import Any

import msgspec
import pytest

from fixtures.redis import RedisServer
from integration.worker.harness import Door, EventLog, Records, StartWorker, eventually
from opsagent_queue import Event, Task, TaskQueue
from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.events import EventPublisher
from opsagent_worker.metrics import Metrics
from opsagent_worker.redaction import Redactor
from opsagent_worker.running import RunningTask
from opsagent_worker.sla import SlaWatch

pytestmark = pytest.mark.integration

WARNING, VIOLATION = "sla.warning", "sla.violation"


async def enqueue(queue: TaskQueue, door: Door, sla: dict[str, Any] | None, **fields: Any) -> Task:
    new = Task.new(type="wait", payload={"path": str(door.path)}, assigned_to="ops", **fields)
    task = msgspec.structs.replace(new, sla=sla)
    await queue.enqueue(task)
    return task


def sla_events(events: EventLog, task: Task) -> list[str]:
    return [name for name in events.types(task.task_id) if name.startswith("sla.")]


async def test_an_sla_that_cannot_be_told_ends_no_worker(
    queue: TaskQueue, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    door.open()
    worker = await start_awkward().started()
    target: list[Any] = []
    for _ in range(600):
        target = [target]
    odd = await enqueue(queue, door, {"target": target, "deadline": "2020-01-01T00:00:00Z"})
    await records.finished(odd)
    await eventually(
        lambda: bool(worker.logged("an SLA event cannot be published")), what="somebody is told"
    )

    task = await enqueue(queue, door, None)

    assert (await records.finished(task)).status == "completed"
    assert worker.running


async def test_a_running_task_is_told_of_near_its_deadline_and_at_it(
    queue: TaskQueue, events: EventLog, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    worker = await start_awkward().started()
    sla = {"target": "six seconds", "deadline": "6s", "alert_threshold": "5%"}
    task = await enqueue(queue, door, sla)

    await eventually(lambda: VIOLATION in sla_events(events, task), what="the deadline is missed")
    door.open()
    await records.finished(task)

    assert sla_events(events, task) == [WARNING, VIOLATION]
    warning = await events.published(WARNING, task_id=task.task_id)
    assert (warning.priority, warning.trace_id) == ("high", task.trace_id)
    assert 0.3 <= warning.payload["elapsed_seconds"] < 6
    assert warning.payload["remaining_seconds"] > 0
    assert warning.payload["threshold"] == 0.05
    violation = await events.published(VIOLATION, task_id=task.task_id)
    assert violation.priority == "critical"
    assert violation.payload["target"] == "six seconds"
    assert violation.payload["allowed_seconds"] == 6
    assert violation.payload["elapsed_seconds"] >= 6
    assert violation.payload["remaining_seconds"] <= 0
    name = 'opsagent_worker_sla_events_total{event="violation",type="wait"}'
    assert await worker.metric(name) == 1


async def test_a_task_that_is_late_before_it_starts_has_only_missed_its_deadline(
    queue: TaskQueue, events: EventLog, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    door.open()
    task = await enqueue(queue, door, {"deadline": "2020-01-01T00:00:00Z"})
    await start_awkward().started()
    await records.finished(task)

    await eventually(lambda: bool(sla_events(events, task)), what="somebody tells")
    assert sla_events(events, task) == [VIOLATION]


async def test_no_other_worker_and_no_other_attempt_tells_it_again(
    queue: TaskQueue, events: EventLog, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    first = await start_awkward(OPSAGENT_TASK_TIMEOUT="200ms").started()
    late = {"deadline": 0}
    task = await enqueue(queue, door, late)
    await eventually(
        lambda: bool(first.logged("task is tried again")), what="the first attempt is over"
    )
    first.destroy()
    await start_awkward().started()
    door.open()
    ended = await records.finished(task)
    assert ended.retry_count >= 1

    # A later task's event comes after whatever could still be told of the first one.
    next_task = await enqueue(queue, door, late)
    await eventually(lambda: bool(sla_events(events, next_task)), what="the next one is told of")
    assert sla_events(events, task) == [VIOLATION]


async def test_what_ends_in_time_and_what_promised_nothing_is_not_worth_a_word(
    queue: TaskQueue, events: EventLog, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    door.open()
    worker = await start_awkward().started()
    in_time = await enqueue(queue, door, {"deadline": "1h"})
    without = await enqueue(queue, door, None)
    unreadable = [await enqueue(queue, door, {"target": "99.9%"}) for _ in range(3)]
    ended = await records.ended(*(task.task_id for task in (in_time, without, *unreadable)))
    assert {task.status for task in ended} == {"completed"}

    late = await enqueue(queue, door, {"deadline": 0})
    await eventually(lambda: bool(sla_events(events, late)), what="the last one is told of")

    assert [event.task_id for event in events.events if event.event_type.startswith("sla.")] == [
        late.task_id
    ]
    (line,) = worker.logged("an SLA cannot be read and is ignored")
    assert line["reason"] == "target is neither a moment nor a duration"


async def test_a_backlog_of_late_tasks_is_told_of_one_by_one_and_nothing_is_told_twice(
    queue: TaskQueue, events: EventLog, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    door.open()
    tasks = [await enqueue(queue, door, {"deadline": 0}) for _ in range(50)]
    await start_awkward().started()
    await start_awkward().started()
    await records.ended(*(task.task_id for task in tasks))

    await eventually(
        lambda: all(sla_events(events, task) for task in tasks), what="every task is told of"
    )
    assert {tuple(sla_events(events, task)) for task in tasks} == {(VIOLATION,)}


async def test_what_happens_while_redis_is_away_is_told_when_it_is_back(
    redis_server: RedisServer, queue: TaskQueue, door: Door
) -> None:
    metrics, told = Metrics(), list[Event]()

    def post(event: Event) -> None:
        told.append(event)

    watch = SlaWatch(
        queue=queue,
        events=EventPublisher(post, redactor=Redactor()),
        metrics=metrics,
        pod_name="pod-1",
        memory_ms=60_000,
        retry_seconds=0.02,
    )
    task = await enqueue(queue, door, {"deadline": 0})
    claimed = await queue.claim(
        owner="pod-1", version="v1", count=1, lease_ms=60_000, token="a-token"
    )
    (claim,) = claimed.claims
    watching = asyncio.create_task(watch.run())
    failures = ("opsagent_worker_redis_errors_total", {"operation": "sla"})
    redis_server.stop()
    watch.add(RunningTask(claim, math.inf, None, "wait"))
    await eventually(
        lambda: metrics.registry.get_sample_value(*failures) is not None,
        what="it has tried in vain",
    )
    assert told == []
    redis_server.start()

    await eventually(lambda: bool(told), what="it is told")
    await cancel_until_done([watching])
    (event,) = told
    assert (event.event_type, event.task_id) == (VIOLATION, task.task_id)
