# /// script
# requires-python = ">=3.11"
# dependencies = ["celery[redis]"]
# ///
"""Celery: two prefork processes; many messages at once, as its guide advises for short tasks."""

from celery import Celery
from producing import REDIS_URL, TALLY, produce

app = Celery("benchmark", broker=REDIS_URL, backend=REDIS_URL)
app.conf.worker_prefetch_multiplier = 64


@app.task(name="noop")
def noop(sent: float) -> None:
    TALLY.ran(sent)


async def enqueue(count: int) -> None:
    for _ in range(count):
        noop.delay(0.0)


async def send(sent: float) -> None:
    noop.delay(sent)


if __name__ == "__main__":
    produce(enqueue=enqueue, send=send)
