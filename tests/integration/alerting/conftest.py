"""The notes of a real Redis."""

import pytest
from redis.asyncio import Redis

from opsagent_queue import Notes, TaskQueue


@pytest.fixture
def notes(client: Redis) -> Notes:
    return TaskQueue(client, worker="prod/ops-agent").notes()
