"""The notes of a real Redis."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from opsagent_queue import Notes, TaskQueue, connect


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as client:
        yield client


@pytest.fixture
def notes(client: Redis) -> Notes:
    return TaskQueue(client, worker="prod/ops-agent").notes()
