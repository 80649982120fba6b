"""What handlers say about how far they are can be read while they run."""

import time

import pytest
from redis.asyncio import Redis

from integration.worker.harness import Door, Records, StartWorker, eventually
from opsagent_queue import Progress, Task, TaskQueue

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
