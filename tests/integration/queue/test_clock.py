"""Redis' Lua has no calendar: ours must agree with Python's for every moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from importlib import resources

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from opsagent_queue import parse_time

pytestmark = pytest.mark.integration

CLOCK = (resources.files("opsagent_queue") / "scripts/lib/clock.lua").read_text(encoding="utf-8")
ISO = CLOCK.replace("redis.call('TIME')", "{ARGV[1], ARGV[2]}") + "\nreturn iso_now()"
PARSE = (
    CLOCK
    + """
local us = parse_us(ARGV[1])
return us and string.format('%.0f', us) or ''"""
)

on_one_server = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None
)


@pytest.fixture
def lua(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()


@on_one_server
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


@on_one_server
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2250, 12, 31)),  # noqa: DTZ001 - zoned below
    st.none() | st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
@example(datetime(2000, 2, 29, 23, 59, 59, 999999), -330, "T")  # noqa: DTZ001 - zoned in the test
def test_a_time_is_read_as_python_reads_it(
    lua: redis.Redis, moment: datetime, offset: int | None, separator: str
) -> None:
    if offset is not None:
        moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = moment.isoformat(sep=separator)
    expected = parse_time(text)
    assert expected is not None
    since = expected - datetime(1970, 1, 1, tzinfo=UTC)
    assert lua.eval(PARSE, 0, text) == str(since // timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-11-24T12:00:00Z", "1795521600000000"),
        ("2026-11-24T12:00:00.5Z", "1795521600500000"),
        ("2026-11-24T12:00:00.123456789+00:00", "1795521600123456"),
        ("2026-11-24T14:00:00+0200", "1795521600000000"),
        ("2026-11-24", ""),
        ("2026-11-24T12:00", ""),
        ("2026-11-24T12:00:00 UTC", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_what_is_no_time_is_told(lua: redis.Redis, text: str, microseconds: str) -> None:
    assert lua.eval(PARSE, 0, text) == microseconds
