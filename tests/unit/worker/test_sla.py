"""What a task's `sla` promises, in whichever way it is written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_queue import Task
from opsagent_worker.sla import DEFAULT_THRESHOLD, Sla, UnreadableSlaError, read_sla

CREATED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
BEGIN = CREATED.timestamp()
NOW = BEGIN + 1000


def task(sla: dict[str, Any] | None, *, created_at: str | None = CREATED.isoformat()) -> Task:
    new = Task.new(type="monitor", payload={})
    return msgspec.structs.replace(new, sla=sla, created_at=created_at)


def read(**sla: Any) -> Sla:
    promised = read_sla(task(sla), now=NOW)
    assert promised is not None
    return promised


@pytest.mark.parametrize("sla", [None, {}])
def test_most_tasks_promise_nothing(sla: dict[str, Any] | None) -> None:
    assert read_sla(task(sla), now=NOW) is None


@pytest.mark.parametrize(
    "deadline",
    [
        900,
        900.0,
        "900",
        "900s",
        "15m",
        "PT15M",
        "00:15:00",
        "2026-01-01T12:15:00+00:00",
        "2026-01-01T13:15:00+01:00",
        "2026-01-01T12:15:00Z",
        "2026-01-01T12:15:00",
        " 2026-01-01 12:15:00 ",
        BEGIN + 900,
        (BEGIN + 900) * 1000,
        str(BEGIN + 900),
    ],
    ids=repr,
)
def test_a_deadline_is_a_moment_or_a_duration_in_any_usual_spelling(deadline: Any) -> None:
    assert read(deadline=deadline).deadline == BEGIN + 900


def test_a_target_stands_in_for_a_missing_deadline() -> None:
    assert read(target="15m", deadline=None).deadline == BEGIN + 900


def test_a_deadline_counts_more_than_a_target() -> None:
    promised = read(target="99.9%", deadline="1m")

    assert (promised.target, promised.deadline) == ("99.9%", BEGIN + 60)


@pytest.mark.parametrize(
    ("threshold", "fraction"),
    [
        (0.8, 0.8),
        (80, 0.8),
        ("80%", 0.8),
        ("0.8", 0.8),
        ("80", 0.8),
        ("0.5 %", 0.005),
        (1, 1.0),
        (0, 0.0),
        (None, DEFAULT_THRESHOLD),
    ],
    ids=repr,
)
def test_a_threshold_is_a_fraction_or_a_percentage(threshold: Any, fraction: float) -> None:
    promised = read(deadline=100, alert_threshold=threshold)

    assert promised.threshold == pytest.approx(fraction)
    assert promised.warning == pytest.approx(BEGIN + 100 * fraction)


@pytest.mark.parametrize(
    ("sla", "field"),
    [
        ({"target": "99.9%"}, "target"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": -5}, "deadline"),
        ({"deadline": "-PT5M"}, "deadline"),
        ({"deadline": True}, "deadline"),
        ({"deadline": ["5m"]}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"deadline": 1e300}, "deadline"),
        ({"deadline": 10**400}, "deadline"),
        ({"deadline": "0001-01-01T00:00:00+14:00"}, "deadline"),
        ({"deadline": "9999-12-31T23:59:59-14:00"}, "deadline"),
        ({"target": "fast", "deadline": ""}, "deadline"),
        ({"alert_threshold": 0.8}, "target"),
        ({"deadline": "5m", "alert_threshold": "high"}, "alert_threshold"),
        ({"deadline": "5m", "alert_threshold": 101}, "alert_threshold"),
        ({"deadline": "5m", "alert_threshold": -0.1}, "alert_threshold"),
        ({"deadline": "5m", "alert_threshold": True}, "alert_threshold"),
    ],
)
def test_what_cannot_be_read_is_named(sla: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableSlaError, match=f"^{field} "):
        read_sla(task(sla), now=NOW)


def test_a_task_of_unknown_age_begins_now() -> None:
    promised = read_sla(task({"deadline": "1m"}, created_at="long ago"), now=NOW)

    assert promised is not None
    assert (promised.begins, promised.deadline) == (NOW, NOW + 60)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({}, optional={"target": json, "deadline": json, "alert_threshold": json})
)
def test_whatever_stands_there_is_read_or_refused(sla: dict[str, Any]) -> None:
    try:
        promised = read_sla(task(sla), now=NOW)
    except UnreadableSlaError:
        return
    if promised is not None:
        assert 0 <= promised.threshold <= 1
        assert promised.warning <= max(promised.deadline, promised.begins)
        assert datetime.fromtimestamp(promised.deadline, UTC) < datetime.max.replace(tzinfo=UTC)


@given(st.timedeltas(timedelta(0), timedelta(days=3650)), st.floats(0, 1))
def test_a_warning_lies_between_beginning_and_deadline(length: timedelta, fraction: float) -> None:
    promised = read(deadline=length.total_seconds(), alert_threshold=fraction)

    assert BEGIN <= promised.warning <= promised.deadline
