"""Sentry hears of each final failure once, with what it takes to find the task and without secrets."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from opsagent_queue import Claim, Lease, Task
from opsagent_worker.error_reports import ErrorReports, configure_error_reports
from opsagent_worker.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandBack,
    LeaseLost,
    Outcome,
    Retry,
)
from opsagent_worker.reporter import Report
from opsagent_worker.running import RunningTask
from opsagent_worker.settings import Settings

TOKEN = "vercel-token-of-the-test"
PASSWORD = "password-of-the-queue"
IN_PAYLOAD = "what only the payload says"
RETRY = Retry("busy", "retryable", 1.0, "RetryableError")


class Sent(Transport):
    """Takes events instead of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        assert event is not None
        # As text and back: what cannot be sent cannot be tested.
        self.events.append(json.loads(json.dumps(dict(event))))


@pytest.fixture
def sent() -> Sent:
    return Sent()


def settings(**environment: str) -> Settings:
    return Settings.load(
        {
            "REDIS_URL": f"redis://:{PASSWORD}@localhost",
            "VERCEL_TOKEN": TOKEN,
            "VERCEL_TEAM_ID": "team_1",
            "OPSAGENT_VERSION": "v1.2.3",
            **environment,
        }
    )


@pytest.fixture
def reports(sent: Sent) -> Iterator[ErrorReports]:
    configured = settings(SENTRY_DSN="https://key@sentry.example/1")
    yield configure_error_reports(configured, configured.redactor(), transport=sent)
    sentry_sdk.init()


def report(outcome: Outcome, *, task_type: str = "deploy") -> Report:
    task = Task.new(type=task_type, payload={"password": IN_PAYLOAD})
    lease = Lease(task_id=task.task_id, owner="pod-1", fence=7, attempt=3, crashes=0)
    claim = Claim(task=task, lease=lease, data="{}")
    return Report(RunningTask(claim, math.inf, None, task_type), outcome, 1.0)


def raised(error: Exception) -> Exception:
    """`error`, with the traceback it has when a handler raised it."""

    def handler() -> None:
        payload = {"password": IN_PAYLOAD}
        del payload
        raise error

    with pytest.raises(type(error)):
        handler()
    return error


def test_a_final_failure_is_one_event_that_names_its_task(
    reports: ErrorReports, sent: Sent
) -> None:
    failed = report(Failed("gave up", "KeyError", raised(KeyError("x"))))

    reports.reported(failed, True)

    (event,) = sent.events
    fields = failed.running.fields
    assert event["tags"] == {
        "task_id": fields.task_id,
        "task_type": "deploy",
        "trace_id": fields.trace_id,
        "attempt": "3",
        "error_class": "KeyError",
        "version": "v1.2.3",
    }
    assert (event["release"], event["level"]) == ("v1.2.3", "error")
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "KeyError"
    assert exception["stacktrace"]["frames"][-1]["function"] == "handler"


@pytest.mark.parametrize(
    ("outcome", "taken"),
    [
        (RETRY, True),
        (HandBack(), True),
        (Cancelled(), True),
        (Completed({}), True),
        (LeaseLost(), False),
        (Failed("too late", "KeyError", KeyError("x")), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_else_is_an_event(
    reports: ErrorReports, sent: Sent, outcome: Outcome, taken: bool
) -> None:
    reports.reported(report(outcome), taken)

    assert sent.events == []


def test_neither_secrets_nor_payloads_are_sent(reports: ErrorReports, sent: Sent) -> None:
    cause = raised(ValueError(f"Bearer {TOKEN} at redis://:{PASSWORD}@localhost"))
    reports.reported(report(Failed(f"saw {TOKEN}", "ValueError", cause)), True)
    reports.reported(report(Failed(f"saw {TOKEN}", "ValueError")), True)
    reports.fault(raised(RuntimeError(TOKEN)))

    text = json.dumps(sent.events)
    assert len(sent.events) == 3
    assert "[redacted]" in text
    for secret in (TOKEN, IN_PAYLOAD, PASSWORD):
        assert secret not in text


def test_what_one_task_failed_with_is_not_told_of_the_next(
    reports: ErrorReports, sent: Sent
) -> None:
    reports.reported(report(Failed("a", "KeyError", KeyError("a"))), True)
    reports.reported(report(Failed("b", "KeyError", KeyError("b")), task_type="alert"), True)
    reports.fault(RuntimeError("ours"))

    first, second, fault = sent.events
    assert first["tags"]["task_id"] != second["tags"]["task_id"]
    assert second["tags"]["task_type"] == "alert"
    assert "task_id" not in fault["tags"]
    assert fault["level"] == "fatal"
    assert not any(event.get("breadcrumbs", {}).get("values") for event in sent.events)


def test_tasks_given_up_as_poison_are_one_event(reports: ErrorReports, sent: Sent) -> None:
    reports.poisoned(2)

    (event,) = sent.events
    assert event["tags"]["tasks"] == "2"
    assert "took down worker after worker" in event["message"]


def test_without_a_dsn_nobody_is_told(sent: Sent) -> None:
    plain = settings()
    reports = configure_error_reports(plain, plain.redactor(), transport=sent)

    tell: list[Callable[[], None]] = [
        lambda: reports.reported(report(Failed("x", "KeyError")), True),
        lambda: reports.poisoned(1),
        lambda: reports.fault(RuntimeError("x")),
    ]
    for one in tell:
        one()

    assert sent.events == []
