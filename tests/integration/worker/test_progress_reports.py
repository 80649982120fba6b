"""What handlers say about how far they are can be read while they run."""

import asyncio
import math
import time

import pytest
from redis.asyncio import Redis

from fixtures.redis import RedisServer
from integration.worker.harness import Door, Records, StartWorker, eventually
from opsagent_queue import Progress, Task, TaskQueue
from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.metrics import Metrics
from opsagent_worker.progress import ProgressReporter
from opsagent_worker.redaction import Redactor
from opsagent_worker.running import RunningTask

pytestmark = pytest.mark.integration


async def enqueue(queue: TaskQueue, task_type: str, door: Door) -> Task:
    task = Task.new(type=task_type, payload={"path": str(door.path)}, assigned_to="ops")
    await queue.enqueue(task)
    return task


async def test_the_last_word_stands_beside_the_queue_until_the_task_ends(
    queue: TaskQueue, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    await start_awkward().started()
    chatter, murmur = await enqueue(queue, "chatter", door), await enqueue(queue, "murmur", door)
    said: dict[str, Progress] = {}

    async def both_have_said_all() -> bool:
        said.update(await queue.progress().read())
        last = said.get(chatter.task_id)
        return murmur.task_id in said and last is not None and last.fraction == 0.99

    await eventually(both_have_said_all, what="both tasks have said how far they are")

    assert said[chatter.task_id].message == "token [redacted]"
    assert said[chatter.task_id].worker == "pod-1"
    assert said[murmur.task_id].fraction is None
    assert said[murmur.task_id].message == "reading"
    door.open()
    await records.ended(chatter.task_id, murmur.task_id)

    async def nothing_is_left() -> bool:
        return not await queue.progress().read()

    await eventually(nothing_is_left, what="the progress of ended tasks is forgotten")


async def test_much_talk_costs_redis_one_call_a_second(
    client: Redis, queue: TaskQueue, records: Records, door: Door, start_awkward: StartWorker
) -> None:
    await start_awkward().started()
    await client.config_resetstat()
    began = time.monotonic()
    tasks = [await enqueue(queue, "chatter", door) for _ in range(3)]

    async def all_said() -> bool:
        said = await queue.progress().read()
        return [said[task.task_id].fraction for task in tasks if task.task_id in said] == [0.99] * 3

    await eventually(all_said, what="every task has said its last word")
    seconds = time.monotonic() - began

    # No other script uses this command; 303 words were said.
    calls = (await client.info("commandstats"))["cmdstat_hrandfield"]["calls"]
    assert calls <= 2 + seconds
    door.open()
    await records.ended(*(task.task_id for task in tasks))


async def test_a_worker_that_ends_takes_its_words_with_it(
    queue: TaskQueue, door: Door, start_awkward: StartWorker
) -> None:
    worker = await start_awkward(OPSAGENT_DRAIN_TIMEOUT="0s").started()
    await enqueue(queue, "chatter", door)

    async def said() -> bool:
        return bool(await queue.progress().read())

    await eventually(said, what="the task has said how far it is")
    worker.signal(15)
    assert await worker.exit_code() == 0

    assert await queue.progress().read() == {}
    assert (await queue.snapshot()).pending == 1


async def test_what_is_said_while_redis_is_away_is_written_when_it_is_back(
    redis_server: RedisServer, queue: TaskQueue
) -> None:
    metrics = Metrics()
    reporter = ProgressReporter(
        queue=queue,
        pod_name="pod-1",
        redactor=Redactor(),
        metrics=metrics,
        pause_after_failure=0.02,
    )
    failures = ("opsagent_worker_redis_errors_total", {"operation": "progress"})
    await queue.enqueue(Task.new(type="chatter", payload={}, assigned_to="ops"))
    claimed = await queue.claim(
        owner="pod-1", version="v1", count=1, lease_ms=60_000, token="a-token"
    )
    (claim,) = claimed.claims
    running = RunningTask(claim, math.inf, None, "chatter")
    running.job = asyncio.create_task(asyncio.sleep(3600))
    reporting = asyncio.create_task(reporter.run())
    redis_server.stop()
    reporter.report(running, 0.5, "half of it")
    await eventually(
        lambda: metrics.registry.get_sample_value(*failures) is not None,
        what="it has tried in vain",
    )
    redis_server.start()

    async def written() -> bool:
        return [word.message for word in (await queue.progress().read()).values()] == ["half of it"]

    await eventually(written, what="the last word is written")
    running.job.cancel()
    await cancel_until_done([reporting])
