"""Slack's incoming webhooks.

Formatting and limits: Slack's npm package @slack/types 3.2 (attachments, blocks) and PyPI package slack-sdk 3.48 (lengths).
Errors: "Improving error conditions for Incoming Webhooks" in Slack's changelog (2016-05-17) and "Sending messages using
incoming webhooks". Rate: "no more than one message per second" for each webhook ("Rate limits").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

import httpx

from opsagent_worker.alerting.channel import ChannelName, Pace
from opsagent_worker.alerting.notification import Notification, Severity
from opsagent_worker.errors import PermanentError, TaskError
from opsagent_worker.outbound import call, refusal

_WHAT: Final = "the Slack webhook"

# Characters.
_LONGEST_MESSAGE: Final = 4000
"""Ours: Slack cuts a text at 40,000, and nobody reads a tenth of that in an alert."""

_LONGEST_SECTION: Final = 3000
_LONGEST_FIELD: Final = 2000
_LONGEST_TITLE: Final = 100
_LONGEST_HEADLINE: Final = 300
"""Ours: more does not fit into one line of a phone's notification anyway."""

_MOST_FIELDS: Final = 10

_SECONDS_PER_MESSAGE: Final = 1.0

_COLOURS: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "#c9190b",
    Severity.HIGH: "#ec7a08",
    Severity.MEDIUM: "#f0ab00",
    Severity.LOW: "#2b9af3",
}
_RESOLVED_COLOUR: Final = "#3e8635"

_ENTITIES: Final[Mapping[str, str]] = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

_NEW_WEBHOOK: Final = "create a new webhook in Slack and set SLACK_WEBHOOK_URL to it"
_ADVICE: Final[Mapping[str, str]] = {
    "no_service": _NEW_WEBHOOK,
    "no_service_id": _NEW_WEBHOOK,
    "no_active_hooks": _NEW_WEBHOOK,
    "no_team": _NEW_WEBHOOK,
    "invalid_token": _NEW_WEBHOOK,
    "team_disabled": "the Slack workspace is disabled; set SLACK_WEBHOOK_URL to a webhook of another one",
    "channel_not_found": "the webhook's channel is gone; " + _NEW_WEBHOOK,
    "channel_is_archived": "restore the webhook's channel in Slack, or " + _NEW_WEBHOOK,
    "action_prohibited": "an administrator of the Slack workspace has to allow the webhook to post",
    "posting_to_general_channel_denied": "only some may post to that channel; " + _NEW_WEBHOOK,
}
"""What to do about an answer, which no further attempt will change."""


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    client: httpx.AsyncClient
    url: str = field(repr=False)
    pace: Pace = field(default_factory=lambda: Pace(_SECONDS_PER_MESSAGE))
    """One for the process: all its tasks share the webhook."""

    @property
    def name(self) -> ChannelName:
        return "slack"

    def reserve(self) -> float:
        return self.pace.reserve()

    async def send(self, notification: Notification) -> None:
        """See `Channel.send`. A 429 asks for another attempt after its Retry-After, a 5xx (`rollup_error`) for one."""
        body = slack_message(notification)
        await call(self.client, "POST", self.url, what=_WHAT, refused=slack_refusal, json=body)


def slack_refusal(response: httpx.Response) -> TaskError:
    """The error that Slack's answer, a word in plain text, means."""
    error = refusal(response, what=_WHAT)
    advice = _ADVICE.get(response.text.strip())
    if advice is not None and isinstance(error, PermanentError):
        return PermanentError(f"{error}. To mend it, {advice}")
    return error


def slack_message(notification: Notification) -> dict[str, Any]:
    """The body: a headline and the message, and below them the details beside a bar in the severity's colour."""
    fields = [_field(*detail) for detail in list(notification.details.items())[:_MOST_FIELDS]]
    about = f"task {notification.task_id} · key {notification.dedup_key}"
    blocks: list[dict[str, Any]] = [{"type": "section", "fields": fields}] if fields else []
    blocks.append({"type": "context", "elements": [_mrkdwn(about, _LONGEST_SECTION)]})
    return {
        "text": f"{_headline(notification)}\n{escape(notification.message, _LONGEST_MESSAGE)}",
        "attachments": [{"color": _colour(notification), "blocks": blocks}],
    }


def _headline(notification: Notification) -> str:
    match notification.action:
        case "trigger":
            state = notification.severity.upper()
        case "acknowledge":
            state = "ACKNOWLEDGED"
        case "resolve":
            state = "RESOLVED"
        case action:
            assert_never(action)
    about = f"{notification.alert_type} · {notification.source}"
    return f"*{state}* {escape(about, _LONGEST_HEADLINE)}"


def _colour(notification: Notification) -> str:
    if notification.action == "resolve":
        return _RESOLVED_COLOUR
    return _COLOURS[notification.severity]


def _mrkdwn(text: str, longest: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": escape(text, longest)}


def _field(name: str, value: str) -> dict[str, str]:
    heading = f"*{escape(name, _LONGEST_TITLE)}*\n"
    room = _LONGEST_FIELD - _LONGEST_TITLE - len("**\n")
    return {"type": "mrkdwn", "text": heading + escape(value, room)}


def escape(text: str, longest: int) -> str:
    """`text` in Slack's markup, in which &, < and > are written as entities, cut to `longest` characters of it.

    Whole entities only; a character outside the basic plane counts as two, as it does in JavaScript.
    """
    written = [_ENTITIES.get(character, character) for character in text]
    if sum(map(_length, written)) <= longest:
        return "".join(written)
    kept, room = [], longest - 1
    for piece in written:
        room -= _length(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _length(piece: str) -> int:
    return 2 if piece > "\uffff" else len(piece)
