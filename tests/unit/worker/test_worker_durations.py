"""Durations as environment variables spell them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_operator.api.duration import format_duration
from opsagent_worker.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("168h", 604_800),
        ("1.5s", 1.5),
        ("5", 5),
        ("0.25", 0.25),
        ("0s", 0),
    ],
)
def test_go_notation_and_plain_seconds_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "5x", "5m or 3s", "-5s", "1d", "s", "5 s", "1e3", "٣s"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 500ms, 30s, 1m30s or 5"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=365 * 24 * 3600 * 1000))
def test_whatever_the_operator_writes_is_read_as_it_was_meant(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)

    assert parse_duration(format_duration(duration)) == duration
