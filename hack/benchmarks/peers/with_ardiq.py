# /// script
# requires-python = ">=3.12"
# dependencies = ["ardiq"]
# ///
"""ArdiQ, at our concurrency."""

from ardiq import Ardiq
from producing import REDIS_URL, TALLY, produce

TOGETHER = 1000

app = Ardiq(redis_url=REDIS_URL, concurrency=32)


@app.task
async def noop(sent: float) -> None:
    TALLY.ran(sent)


async def enqueue(count: int) -> None:
    for first in range(0, count, TOGETHER):
        size = min(TOGETHER, count - first)
        await app.enqueue_many(noop.prepare(0.0) for _ in range(size))


if __name__ == "__main__":
    produce(enqueue=enqueue, send=noop.enqueue)
