# /// script
# requires-python = ">=3.11"
# dependencies = ["streaq", "uvloop"]
# ///
"""streaQ, at our concurrency."""

from producing import REDIS_URL, TALLY, produce
from streaq import Worker

TOGETHER = 1000

worker = Worker(redis_url=REDIS_URL, concurrency=32)


@worker.task
async def noop(sent: float) -> None:
    TALLY.ran(sent)


async def enqueue(count: int) -> None:
    for first in range(0, count, TOGETHER):
        size = min(TOGETHER, count - first)
        await worker.enqueue_many([noop.enqueue(0.0) for _ in range(size)])


async def send(sent: float) -> None:
    await noop.enqueue(sent)


if __name__ == "__main__":
    produce(enqueue=enqueue, send=send, opened=worker.__aenter__)
