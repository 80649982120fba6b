"""Redis' Lua has no calendar: ours must agree with Python's for every moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.integration

CLOCK = (resources.files("opsagent_queue") / "scripts/lib/clock.lua").read_text(encoding="utf-8")
ISO = CLOCK.replace("redis.call('TIME')", "{ARGV[1], ARGV[2]}") + "\nreturn iso_now()"


@pytest.fixture
def lua(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None
)
@given(st.datetimes(datetime(1970, 1, 1), datetime(2400, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - the zone comes from timezones
@example(datetime(2000, 2, 29, 23, 59, 59, 999999, tzinfo=UTC))
@example(datetime(2100, 2, 28, tzinfo=UTC))
@example(datetime(2100, 3, 1, tzinfo=UTC))
@example(datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC))
@example(datetime(2025, 1, 1, tzinfo=UTC))
def test_a_time_is_written_as_python_writes_it(lua: redis.Redis, moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    seconds, microseconds = divmod(since // timedelta(microseconds=1), 1_000_000)
    written = lua.eval(ISO, 0, str(seconds), str(microseconds))
    assert written == moment.isoformat(timespec="microseconds")
