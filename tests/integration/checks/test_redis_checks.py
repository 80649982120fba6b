"""Checks of a Redis, against real ones."""

import httpx
import pytest
from redis import Redis

from fixtures.redis import RedisServer
from opsagent_worker.checks.checker import HealthChecker
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.target import read_target

pytestmark = pytest.mark.integration


async def check(url: str) -> HealthReport:
    async with httpx.AsyncClient() as client:
        return await HealthChecker(client).check(read_target(url))


async def test_a_redis_that_answers_is_healthy(redis_url: str) -> None:
    report = await check(redis_url)

    assert (report.status, report.checks[0].kind, report.detail) == ("healthy", "redis", "answers")


async def test_a_redis_that_refuses_us_is_there_and_worth_a_look(redis_server: RedisServer) -> None:
    with Redis("127.0.0.1", redis_server.port) as client:
        client.config_set("requirepass", "a-secret-word")

        report = await check(redis_server.url)

        client.config_set("requirepass", "")
    assert report.status == "degraded"
    assert "Authentication required" in report.detail


async def test_a_redis_that_is_away_is_not_healthy(redis_server: RedisServer) -> None:
    redis_server.stop()

    report = await check(redis_server.url)

    redis_server.start()
    assert report.status == "unhealthy"
    assert "Redis is not available" in report.detail
