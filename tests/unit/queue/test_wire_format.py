"""The orchestrator's wire format, checked against golden text and an independent strict reader."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.strict_reader import StrictTask
from opsagent_queue import (
    Event,
    EventType,
    MalformedTaskError,
    Priority,
    Task,
    now_iso,
    parse_time,
    score,
)

GOLDEN_TASK = (
    '{"task_id": "t-1", "type": "deploy", "priority": "P1", "source": "user", "status": "pending", '
    '"payload": {"project": "shop", "environment": "production", "tags": [], "extra": {}}, '
    '"trace_id": "tr-1", "sla": {"target": "5m", "deadline": "2025-10-22T12:05:00+00:00", '
    '"alert_threshold": 0.8}, "assigned_to": "ops_agent", '
    '"created_at": "2025-10-22T12:00:00.123456+00:00", "started_at": null, "completed_at": null, '
    '"parent_task_id": null, "child_task_ids": [], "metadata": {"note": "caf\\u00e9"}, '
    '"error": null, "retry_count": 0, "max_retries": 3}'
)

GOLDEN_EVENT = (
    '{"event_id": "e-1", "event_type": "task.created", "priority": "medium", '
    '"source_agent": "ops", "trace_id": "tr-1", "task_id": "t-1", '
    '"payload": {"task_type": "deploy", "priority": "P1", "assigned_to": "ops"}, '
    '"timestamp": "2025-10-22T12:00:00+00:00", "metadata": {}}'
)


text = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, json_values, max_size=3)
times = st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
tasks = st.builds(
    Task,
    task_id=text,
    type=text,
    priority=text,
    source=text,
    status=text,
    payload=objects,
    trace_id=st.none() | text,
    sla=st.none() | objects,
    assigned_to=st.none() | text,
    created_at=times,
    started_at=st.none() | times,
    completed_at=st.none() | times,
    parent_task_id=st.none() | text,
    child_task_ids=st.lists(text, max_size=3),
    metadata=objects,
    error=st.none() | text,
    retry_count=st.integers(0, 100),
    max_retries=st.integers(0, 100),
)


def test_a_task_is_written_byte_for_byte_as_the_orchestrator_writes_it() -> None:
    assert Task.decode(GOLDEN_TASK).encode() == GOLDEN_TASK
    assert json.dumps(json.loads(GOLDEN_TASK)) == GOLDEN_TASK


def test_an_event_is_written_byte_for_byte_as_the_orchestrator_writes_it() -> None:
    assert Event.decode(GOLDEN_EVENT).encode() == GOLDEN_EVENT
    assert json.dumps(json.loads(GOLDEN_EVENT)) == GOLDEN_EVENT


@given(tasks)
def test_every_task_survives_a_round_trip(task: Task) -> None:
    assert Task.decode(task.encode()) == task


@given(tasks)
def test_the_orchestrators_strict_reader_accepts_every_task_we_write(task: Task) -> None:
    read = StrictTask.model_validate_json(task.encode())
    assert (read.task_id, read.payload, read.child_task_ids) == (
        task.task_id,
        task.payload,
        task.child_task_ids,
    )


def test_a_new_task_is_pending_with_an_aware_time_and_ids_of_its_own() -> None:
    one, two = (Task.new(type="monitor", payload={"url": "https://example.com"}) for _ in "ab")
    read = StrictTask.model_validate_json(one.encode())
    assert read.created_at.utcoffset() is not None
    assert (one.status, one.retry_count, one.max_retries) == ("pending", 0, 3)
    assert len({one.task_id, two.task_id, one.trace_id, two.trace_id}) == 4


def test_unknown_enum_values_are_kept_as_they_are() -> None:
    task = Task.decode('{"task_id": "t", "type": "dance", "priority": "P9", "status": "dreaming"}')
    assert (task.type, task.priority, task.status) == ("dance", "P9", "dreaming")


def test_unknown_fields_do_not_stop_a_reader_and_are_never_written() -> None:
    task = Task.decode('{"task_id": "t", "type": "faq", "novelty": 1}')
    assert "novelty" not in json.loads(task.encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a task"),
        ('{"type": "faq"}', "task_id"),
        ('{"task_id": "t", "type": "faq", "payload": "secret-word"}', "payload"),
    ],
)
def test_data_that_is_no_task_is_named_without_showing_its_content(data: str, reason: str) -> None:
    with pytest.raises(MalformedTaskError, match=reason) as caught:
        Task.decode(data)
    assert "secret-word" not in str(caught.value)


def test_pythons_not_a_number_in_a_payload_does_not_stop_a_reader() -> None:
    task = Task.decode('{"task_id": "t", "type": "faq", "payload": {"load": NaN}}')
    assert task.payload["load"] != task.payload["load"]


@pytest.mark.parametrize(
    ("priority", "expected"),
    [("P0", 1.0), ("P1", 2.0), ("P2", 3.0), ("P3", 4.0), ("P7", 3.0), ("", 3.0)],
)
def test_a_priority_has_the_orchestrators_score(priority: str, expected: float) -> None:
    assert score(priority) == expected


def test_enum_members_work_wherever_their_text_does() -> None:
    task = Task.new(type="deploy", payload={}, priority=Priority.P0)
    assert json.loads(task.encode())["priority"] == "P0"
    assert score(Priority.P0) == 1.0


def test_the_announcement_of_a_task_carries_type_priority_and_agent() -> None:
    task = Task.new(type="deploy", payload={}, priority="P1", assigned_to="ops")
    event = Event.created(task)
    assert event.event_type == EventType.TASK_CREATED
    assert event.payload == {"task_type": "deploy", "priority": "P1", "assigned_to": "ops"}
    assert (event.task_id, event.trace_id) == (task.task_id, task.trace_id)
    assert event.source_agent == "ops"


def test_times_are_read_with_their_offset_and_nonsense_is_none() -> None:
    assert parse_time("2025-10-22T14:00:00+02:00") == datetime(2025, 10, 22, 12, tzinfo=UTC)
    assert parse_time("2025-10-22T12:00:00Z") == datetime(2025, 10, 22, 12, tzinfo=UTC)
    assert parse_time("2025-10-22T12:00:00") == datetime(2025, 10, 22, 12, tzinfo=UTC)
    assert parse_time("yesterday") is None
    assert parse_time(None) is None
    assert parse_time(now_iso()) is not None
