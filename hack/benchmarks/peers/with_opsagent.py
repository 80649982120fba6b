"""This project's producer, for the same measurement; runs in the project's own environment."""

from producing import REDIS_URL, produce

from opsagent_queue import Task, TaskQueue, connect

queue = TaskQueue(connect(REDIS_URL), worker="benchmarks/worker")


async def enqueue(count: int) -> None:
    for _ in range(count):
        await send(0.0)


async def send(sent: float) -> None:
    await queue.enqueue(Task.new(type="noop", payload={"sent": sent}, assigned_to="ops"))


if __name__ == "__main__":
    produce(enqueue=enqueue, send=send)
