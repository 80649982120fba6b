"""What each channel is sent, held against the rules of those who receive it."""

import hashlib
import hmac
import json
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import pagerduty as pagerduty_rules
from doubles import slack as slack_rules
from opsagent_worker.alerting.notification import (
    ACTIONS,
    Notification,
    Severity,
    default_dedup_key,
    read_severity,
    readable_details,
)
from opsagent_worker.alerting.pagerduty import pagerduty_event
from opsagent_worker.alerting.slack import escape, slack_message
from opsagent_worker.alerting.webhook import Webhook

ROUTING_KEY = "r" * 32

DISK = Notification(
    alert_type="disk",
    severity=Severity.CRITICAL,
    message="usage > 90 % & growing",
    dedup_key="disk/web-1",
    source="web-1",
    details={"free": "3 GiB"},
    task_id="task-1",
    trace_id="trace-1",
    created_at="2026-01-01T12:00:00+00:00",
)

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)

NOTIFICATIONS = st.builds(
    Notification,
    alert_type=TEXTS,
    severity=st.sampled_from(Severity),
    message=TEXTS | st.integers(1, 9000).map(lambda count: "<&😀x" * count),
    action=st.sampled_from(ACTIONS),
    dedup_key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=255),
    source=TEXTS,
    details=st.dictionaries(
        TEXTS, TEXTS | st.integers(1, 9000).map(lambda count: "&" * count), max_size=30
    ).map(readable_details),
    task_id=st.uuids().map(str),
    trace_id=st.none() | TEXTS,
    created_at=st.none() | st.datetimes().map(lambda moment: moment.isoformat()) | TEXTS,
)


@given(NOTIFICATIONS)
def test_whatever_is_told_slack_takes_it(notification: Notification) -> None:
    assert list(slack_rules.violations(slack_message(notification))) == []


@given(NOTIFICATIONS)
def test_whatever_is_told_pagerduty_takes_it(notification: Notification) -> None:
    event = pagerduty_event(notification, routing_key=ROUTING_KEY)

    assert list(pagerduty_rules.violations(event)) == []
    assert len(json.dumps(event)) < 512 * 1024


def test_a_slack_message_has_a_headline_and_the_details_beside_a_coloured_bar() -> None:
    message = slack_message(DISK)

    assert message["text"] == "*CRITICAL* disk · web-1\nusage &gt; 90 % &amp; growing"
    (attachment,) = message["attachments"]
    assert attachment["color"] == "#c9190b"
    details, context = attachment["blocks"]
    assert details["fields"] == [{"type": "mrkdwn", "text": "*free*\n3 GiB"}]
    assert context["elements"][0]["text"] == "task task-1 · key disk/web-1"


@pytest.mark.parametrize(
    ("action", "headline"),
    [("acknowledge", "*ACKNOWLEDGED* disk · web-1"), ("resolve", "*RESOLVED* disk · web-1")],
)
def test_the_headline_tells_how_a_trouble_goes_on(action: str, headline: str) -> None:
    message = slack_message(replace(DISK, action=action))  # type: ignore[arg-type] # one of the three

    assert message["text"].splitlines()[0] == headline


@given(TEXTS, st.integers(8, 200))
def test_a_cut_text_is_short_enough_and_breaks_no_entity(text: str, longest: int) -> None:
    written = escape(text, longest)

    assert len(written.encode("utf-16-le")) // 2 <= longest
    assert "<" not in written
    assert ">" not in written
    plain = written.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert plain == text or text.startswith(plain.removesuffix("…"))


def test_a_pagerduty_trigger_says_what_is_wrong() -> None:
    assert pagerduty_event(DISK, routing_key=ROUTING_KEY) == {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": "disk/web-1",
        "client": "OpsAgent",
        "payload": {
            "summary": "disk: usage > 90 % & growing",
            "source": "web-1",
            "severity": "critical",
            "class": "disk",
            "timestamp": "2026-01-01T12:00:00+00:00",
            "custom_details": {
                "free": "3 GiB",
                "message": "usage > 90 % & growing",
                "task_id": "task-1",
                "trace_id": "trace-1",
            },
        },
    }


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_what_ends_an_alert_needs_its_key_only(action: str) -> None:
    event = pagerduty_event(replace(DISK, action=action), routing_key=ROUTING_KEY)  # type: ignore[arg-type] # one of the three

    assert event == {
        "routing_key": ROUTING_KEY,
        "event_action": action,
        "dedup_key": "disk/web-1",
    }


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("CRITICAL", Severity.CRITICAL),
        ("P0", Severity.CRITICAL),
        ("error", Severity.HIGH),
        ("warning", Severity.MEDIUM),
        (" info ", Severity.LOW),
        ("unheard of", Severity.MEDIUM),
    ],
)
def test_every_word_for_a_severity_has_a_meaning(word: str, severity: Severity) -> None:
    assert read_severity(word) is severity


@pytest.mark.parametrize(
    ("severity", "pagerduty"),
    [
        (Severity.CRITICAL, "critical"),
        (Severity.HIGH, "error"),
        (Severity.MEDIUM, "warning"),
        (Severity.LOW, "info"),
    ],
)
def test_pagerduty_has_its_own_words(severity: Severity, pagerduty: str) -> None:
    event = pagerduty_event(replace(DISK, severity=severity), routing_key=ROUTING_KEY)

    assert event["payload"]["severity"] == pagerduty


def test_what_says_the_same_has_the_same_key_and_nothing_else_has() -> None:
    said = {
        "alert_type": "disk",
        "severity": Severity.HIGH,
        "source": "web-1",
        "message": "full",
    }
    key = default_dedup_key(**said)  # type: ignore[arg-type] # keyword arguments as they are

    assert key == default_dedup_key(**said)  # type: ignore[arg-type]
    for name, other in (
        ("alert_type", "cpu"),
        ("severity", Severity.LOW),
        ("source", "web-2"),
        ("message", "empty"),
    ):
        assert default_dedup_key(**{**said, name: other}) != key  # type: ignore[arg-type]


def test_details_become_texts_that_can_be_sent() -> None:
    details = readable_details(
        {"count": 3, "hosts": ["a", "b"], "half": "\ud83d", "long": "x" * 5000, "none": None}
    )

    assert (details["count"], details["hosts"], details["half"]) == ("3", '["a", "b"]', "?")
    assert details["none"] == "null"
    assert len(details["long"]) == 2000
    assert len(readable_details({str(number): number for number in range(100)})) == 25


async def test_a_signed_webhook_can_be_checked_by_whoever_shares_the_secret() -> None:
    received: list[httpx.Request] = []

    def receive(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(204)

    async with httpx.AsyncClient(transport=httpx.MockTransport(receive)) as client:
        webhook = Webhook(
            client=client, url="http://receiver/", secret="shared", clock=lambda: 1_700_000_000.9
        )
        await webhook.send(DISK)
        await replace(webhook, secret=None).send(DISK)

    signed, unsigned = received
    expected = hmac.new(b"shared", b"1700000000." + signed.content, hashlib.sha256).hexdigest()
    assert signed.headers["X-OpsAgent-Timestamp"] == "1700000000"
    assert signed.headers["X-OpsAgent-Signature"] == f"v1={expected}"
    assert signed.headers["Idempotency-Key"] == "task-1-trigger"
    assert "X-OpsAgent-Signature" not in unsigned.headers
    assert json.loads(unsigned.content)["details"] == {"free": "3 GiB"}
