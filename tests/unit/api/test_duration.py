"""Durations on the wire and in Python."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_operator.api.duration import MAX_LENGTH, format_duration, parse_duration

A_YEAR = timedelta(hours=8760)


@given(st.timedeltas(min_value=timedelta(), max_value=A_YEAR))
def test_every_duration_up_to_a_year_survives_the_way_to_the_wire_and_back(
    duration: timedelta,
) -> None:
    text = format_duration(duration)

    assert parse_duration(text) == duration
    assert len(text) <= MAX_LENGTH


@given(st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,3})?(h|m|s|ms)[0-9]{1,6}(m|s|ms)", fullmatch=True))
def test_whatever_way_a_duration_is_written_its_shortest_form_means_the_same(text: str) -> None:
    duration = parse_duration(text)

    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(seconds=60), "1m"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(seconds=1, milliseconds=250), "1s250ms"),
        (timedelta(hours=1, seconds=1), "1h1s"),
        (timedelta(days=7), "168h"),
    ],
)
def test_a_duration_is_written_in_its_shortest_form(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(minutes=1, seconds=30)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        ("1m0s", timedelta(minutes=1)),
        ("30s1m", timedelta(seconds=90)),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "-5s", "5 s", "5d", "1w", "PT5S", "5S", "1h 30m", "1.2345s", "٣s", "5s\n"],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 500ms, 30s, 1m30s or 168h"):
        parse_duration(text)


def test_a_duration_too_long_for_the_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("1s" * MAX_LENGTH)


def test_a_negative_duration_is_never_written() -> None:
    with pytest.raises(ValueError, match="not negative"):
        format_duration(timedelta(seconds=-1))
