# /// script
# requires-python = ">=3.11"
# dependencies = ["taskiq[uv]", "taskiq-redis"]
# ///
"""taskiq at its fastest: a plain list without acknowledgements, no results kept."""

from producing import REDIS_URL, TALLY, produce
from taskiq_redis import ListQueueBroker

broker = ListQueueBroker(url=REDIS_URL)


@broker.task(task_name="noop")
async def noop(sent: float) -> None:
    TALLY.ran(sent)


async def enqueue(count: int) -> None:
    for _ in range(count):
        await noop.kiq(0.0)


if __name__ == "__main__":
    produce(enqueue=enqueue, send=noop.kiq, opened=broker.startup)
