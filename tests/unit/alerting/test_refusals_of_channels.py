"""What the answers of those who are told mean for the task."""

import httpx
import pytest

from opsagent_worker.alerting.channel import Pace
from opsagent_worker.alerting.pagerduty import pagerduty_refusal
from opsagent_worker.alerting.slack import slack_refusal
from opsagent_worker.errors import PermanentError, RetryableError


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (400, "invalid_payload", ""),
        (400, "no_text", ""),
        (400, "too_many_attachments", ""),
        (400, "user_not_found", ""),
        (403, "invalid_token", "create a new webhook"),
        (403, "action_prohibited", "an administrator"),
        (403, "posting_to_general_channel_denied", "only some may post"),
        (403, "team_disabled", "another one"),
        (404, "channel_not_found", "channel is gone"),
        (404, "no_service", "set SLACK_WEBHOOK_URL"),
        (404, "no_active_hooks", "create a new webhook"),
        (404, "no_team", "create a new webhook"),
        (410, "channel_is_archived", "restore the webhook's channel"),
    ],
)
def test_what_slack_refuses_stays_refused_and_the_error_says_what_to_do(
    status: int, body: str, advice: str
) -> None:
    error = slack_refusal(httpx.Response(status, text=body))

    assert isinstance(error, PermanentError)
    assert body in str(error)
    assert advice in str(error)


def test_slack_is_given_the_time_it_asks_for() -> None:
    error = slack_refusal(httpx.Response(429, text="rate_limited", headers={"Retry-After": "30"}))

    assert isinstance(error, RetryableError)
    assert error.retry_after == 30


@pytest.mark.parametrize(("status", "body"), [(500, "rollup_error"), (503, "service_unavailable")])
def test_slacks_own_trouble_passes(status: int, body: str) -> None:
    assert isinstance(slack_refusal(httpx.Response(status, text=body)), RetryableError)


def test_what_pagerduty_does_not_like_is_listed() -> None:
    body = {
        "status": "invalid event",
        "message": "Event object is invalid",
        "errors": ["Length of 'routing_key' is incorrect (should be 32 characters)"],
    }
    error = pagerduty_refusal(httpx.Response(400, json=body))

    assert isinstance(error, PermanentError)
    assert str(error) == (
        "PagerDuty answered 400 Bad Request: Event object is invalid "
        "(Length of 'routing_key' is incorrect (should be 32 characters))"
    )


@pytest.mark.parametrize(
    ("headers", "seconds"), [({}, 120.0), ({"Retry-After": "7"}, 7.0)], ids=["untold", "told"]
)
def test_pagerduty_is_given_some_minutes(headers: dict[str, str], seconds: float) -> None:
    error = pagerduty_refusal(httpx.Response(429, headers=headers))

    assert isinstance(error, RetryableError)
    assert error.retry_after == seconds


def test_pagerdutys_own_trouble_passes() -> None:
    assert isinstance(pagerduty_refusal(httpx.Response(502)), RetryableError)


def test_each_has_its_turn_and_time_that_nobody_used_is_gone() -> None:
    now = 100.0
    pace = Pace(1.0, clock=lambda: now)

    assert [pace.reserve() for _ in range(3)] == [0.0, 1.0, 2.0]
    now = 102.5
    assert pace.reserve() == 0.5
    now = 200.0
    assert [pace.reserve() for _ in range(2)] == [0.0, 1.0]
