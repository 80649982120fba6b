"""What the outcomes of several channels mean for one task."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from doubles.channel import FakeChannel
from opsagent_queue import Notes, Task
from opsagent_worker.alerting.channel import ChannelName
from opsagent_worker.errors import DeferredError, PermanentError, RetryableError, TaskError
from opsagent_worker.handlers.alert import Alert
from opsagent_worker.handlers.context import TaskHandler
from opsagent_worker.testing import TaskRun, run_task

pytestmark = pytest.mark.integration

PAYLOAD = {"alert_type": "disk", "severity": "high", "message": "full"}

GONE = PermanentError("gone")
BUSY = RetryableError("busy", retry_after=30.0)
BUSIER = RetryableError("busier", retry_after=60.0)
DOWN = DeferredError("known to be down", retry_in=7.0)


def channels(**errors: TaskError | None) -> dict[ChannelName, FakeChannel]:
    return {name: FakeChannel(name=name, error=error) for name, error in errors.items()}  # type: ignore[arg-type,misc] # names of channels


async def run(
    notes: Notes, told: Mapping[ChannelName, FakeChannel], task: Task | None = None
) -> TaskRun:
    alert = Alert(channels=told, notes=notes, dedup_window=timedelta(minutes=5))
    task = task or Task.new(type="alert", payload=PAYLOAD, assigned_to="ops")
    return await run_task(TaskHandler(type="alert", run=alert), task=task)


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ({"slack": None, "webhook": None}, None),
        ({"slack": GONE, "webhook": None}, None),
        ({"slack": GONE, "webhook": GONE}, PermanentError),
        ({"slack": BUSY, "webhook": None}, RetryableError),
        ({"slack": BUSY, "webhook": GONE}, RetryableError),
        ({"slack": BUSY, "webhook": DOWN}, RetryableError),
        ({"slack": DOWN, "webhook": None}, DeferredError),
        ({"slack": DOWN, "webhook": GONE}, DeferredError),
    ],
)
async def test_a_task_is_done_when_no_channel_is_worth_another_attempt(
    notes: Notes, errors: dict[str, TaskError | None], raised: type[TaskError] | None
) -> None:
    ended = await run(notes, channels(**errors))

    assert (None if ended.exception is None else type(ended.exception)) is raised
    failures = [str(error) for error in errors.values() if error is not None]
    if raised is None:
        assert ended.outcome == "completed"
        assert all(text in str(ended.result) for text in failures)
    else:
        assert all(text in str(ended.exception) for text in failures)


async def test_the_longest_wait_that_was_asked_for_is_kept(notes: Notes) -> None:
    busy = await run(notes, channels(slack=BUSY, pagerduty=BUSIER))
    down = await run(notes, channels(slack=DOWN))

    assert isinstance(busy.exception, RetryableError)
    assert busy.exception.retry_after == 60.0
    assert isinstance(down.exception, DeferredError)
    assert down.exception.retry_in == 7.0


async def test_a_later_attempt_completes_what_is_missing_and_publishes_nothing_again(
    notes: Notes,
) -> None:
    told = channels(slack=None, webhook=DOWN)
    task = Task.new(type="alert", payload={**PAYLOAD, "dedup_window": 0}, assigned_to="ops")

    first = await run(notes, told, task)
    told["webhook"].error = None
    second = await run(notes, told, task)

    assert [event.event_type for event in first.events] == ["alert.triggered"]
    assert second.outcome == "completed"
    assert list(second.events) == []
    assert [len(channel.sent) for channel in told.values()] == [1, 1]


async def test_nothing_is_triggered_by_what_was_sent_before(notes: Notes) -> None:
    told = channels(slack=None)

    first, second = await run(notes, told), await run(notes, told)

    assert [len(one.events) for one in (first, second)] == [1, 0]
    assert _statuses(second) == {"slack": "deduplicated"}


async def test_resolving_is_told_and_triggers_nothing(notes: Notes) -> None:
    payload = {**PAYLOAD, "action": "resolve", "dedup_key": "disk"}
    told = channels(slack=None)
    ended = await run(notes, told, Task.new(type="alert", payload=payload, assigned_to="ops"))

    assert _statuses(ended) == {"slack": "sent"}
    assert list(ended.events) == []


async def test_without_any_channel_it_is_said_what_to_set(notes: Notes) -> None:
    ended = await run(notes, {})

    assert isinstance(ended.exception, PermanentError)
    assert "SLACK_WEBHOOK_URL, PAGERDUTY_ROUTING_KEY, ALERT_WEBHOOK_URL" in str(ended.exception)


def _statuses(ended: TaskRun) -> dict[str, Any]:
    assert ended.result is not None
    return {name: channel["status"] for name, channel in ended.result["channels"].items()}
