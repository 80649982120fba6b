"""Does a port take connections; does a Redis answer?"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from opsagent_queue import QueueError, QueueRefusedError
from opsagent_queue.connection import redis_errors
from opsagent_worker.checks.expectations import Expectations, failed
from opsagent_worker.checks.result import Check, HealthStatus
from opsagent_worker.checks.target import Target
from opsagent_worker.outbound import describe


async def check_tcp(target: Target, wanted: Expectations) -> Check:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(wanted.timeout):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        return wanted.unanswered("tcp")
    except OSError as error:
        return failed("tcp", describe(error))
    writer.transport.abort()
    return wanted.answered("tcp", "takes connections", latency_ms=_since(started))


async def check_redis(ping: Callable[[], Awaitable[object]], wanted: Expectations) -> Check:
    """`ping` asks the Redis something; it raises the queue's errors or redis-py's."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(wanted.timeout):
            with redis_errors():
                await ping()
    except TimeoutError:
        return wanted.unanswered("redis")
    except QueueRefusedError as error:
        # It is there and serves others; what it wants of us is for people to find out.
        return Check(
            kind="redis",
            status=HealthStatus.DEGRADED,
            detail=str(error),
            latency_ms=_since(started),
        )
    except QueueError as error:
        return failed("redis", str(error))
    return wanted.answered("redis", "answers", latency_ms=_since(started))


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
