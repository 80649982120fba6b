"""Enqueues one task, waits for its end and prints its record: `python enqueue.py TYPE '{"some": "payload"}'`."""

import asyncio
import json
import os
import sys

from opsagent_queue import Task, TaskQueue, connect


async def main(task_type: str, payload: str) -> None:
    async with connect(os.environ["REDIS_URL"]) as redis:
        queue = TaskQueue(redis, worker=os.environ.get("OPSAGENT_WORKER", "default/ops-agent"))
        task = Task.new(type=task_type, payload=json.loads(payload), assigned_to="ops")
        await queue.enqueue(task)
        while task.status not in {"completed", "failed", "cancelled"}:
            await asyncio.sleep(0.1)
            task = Task.decode(str(await redis.hget(queue.keys.record(task.task_id), "data")))
        sys.stdout.write(f"{task.encode()}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
