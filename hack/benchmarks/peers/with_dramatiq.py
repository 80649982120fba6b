# /// script
# requires-python = ">=3.11"
# dependencies = ["dramatiq[redis]"]
# ///
"""Dramatiq: a plain actor in as many threads as we have slots; it keeps no results unless asked."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from producing import REDIS_URL, TALLY, produce

dramatiq.set_broker(RedisBroker(url=REDIS_URL))


@dramatiq.actor
def noop(sent: float) -> None:
    TALLY.ran(sent)


async def enqueue(count: int) -> None:
    for _ in range(count):
        noop.send(0.0)


async def send(sent: float) -> None:
    noop.send(sent)


if __name__ == "__main__":
    produce(enqueue=enqueue, send=send)
