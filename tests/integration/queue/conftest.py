"""A queue on a real Redis."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from fixtures.event_listener import Listener
from fixtures.queue_bench import Bench
from opsagent_queue import TaskQueue

WORKER = "prod/ops-agent"


@pytest.fixture
def queue(client: Redis) -> TaskQueue:
    return TaskQueue(client, worker=WORKER)


@pytest.fixture
def bench(queue: TaskQueue, client: Redis) -> Bench:
    return Bench(queue, client)


@pytest.fixture
async def listener(client: Redis) -> AsyncIterator[Listener]:
    listener = Listener(client)
    await listener.start()
    yield listener
    await listener.stop()
