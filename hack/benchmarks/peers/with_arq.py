# /// script
# requires-python = ">=3.11"
# dependencies = ["arq", "uvloop"]
# ///
"""arq: it polls, so the pause between polls and what one poll reads are set for many short jobs."""

from typing import Any, ClassVar

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from producing import REDIS_URL, TALLY, produce

SETTINGS = RedisSettings.from_dsn(REDIS_URL)


async def noop(_context: dict[str, Any], sent: float) -> None:
    TALLY.ran(sent)


class WorkerSettings:
    functions: ClassVar = [noop]
    redis_settings = SETTINGS
    max_jobs = 32
    poll_delay = 0.01
    queue_read_limit = 1000


class Pool:
    redis: ArqRedis

    async def open(self) -> None:
        self.redis = await create_pool(SETTINGS)

    async def enqueue(self, count: int) -> None:
        for _ in range(count):
            await self.redis.enqueue_job("noop", 0.0)

    async def send(self, sent: float) -> None:
        await self.redis.enqueue_job("noop", sent)


if __name__ == "__main__":
    pool = Pool()
    produce(enqueue=pool.enqueue, send=pool.send, opened=pool.open)
