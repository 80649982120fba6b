"""A Slack incoming webhook: takes what Slack takes, refuses what Slack refuses.

Rules:
- answers: "Sending messages using incoming webhooks" in Slack's documentation, and "Improving error conditions for Incoming
  Webhooks" in its changelog (2016-05-17): `ok`, or a word in plain text: 400 `invalid_payload` and `no_text`,
  404 `no_service`;
- fields of messages, attachments and blocks: npm package @slack/types 3.2.0;
- lengths: the validators of PyPI package slack-sdk 3.48.0 (`models/blocks/blocks.py`, `models/messages/message.py`);
- markup: "Formatting text for app surfaces": &, < and > are written as entities.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from doubles.loopback import LoopbackServer, Request, Response

_PATH: Final = "/services/T0000/B0000/a-secret-of-the-hook"

_MESSAGE_FIELDS: Final = {"text", "attachments", "blocks", "unfurl_links", "unfurl_media", "mrkdwn"}
_ATTACHMENT_FIELDS: Final = {"color", "blocks", "fallback"}
"""Of the many fields of an attachment, those that are not legacy."""

_LONGEST_TEXT: Final = 40_000
_MOST_ATTACHMENTS: Final = 100
_MOST_BLOCKS: Final = 50
_LONGEST_SECTION: Final = 3000
_MOST_FIELDS: Final = 10
_LONGEST_FIELD: Final = 2000
_MOST_ELEMENTS: Final = 10
_LONGEST_ELEMENT: Final = 3000

_COLOUR: Final = re.compile(r"good|warning|danger|#[0-9a-fA-F]{6}")
_UNESCAPED: Final = re.compile(r"[<>]|&(?!amp;|lt;|gt;)")


class SlackDouble(LoopbackServer):
    def __init__(self) -> None:
        super().__init__(self._respond)
        self.webhook_url = self.url + _PATH
        self.messages: list[dict[str, Any]] = []
        self.violations: list[str] = []
        """What Slack's rules say against messages that were sent."""
        self.next_responses: list[Response] = []
        """Given instead of the usual answers, first one first."""

    def _respond(self, request: Request) -> Response:
        if self.next_responses:
            return self.next_responses.pop(0)
        if request.method != "POST" or request.path != _PATH:
            return Response(404, "no_service")
        try:
            message = request.json()
        except json.JSONDecodeError:
            return Response(400, "invalid_payload")
        if not isinstance(message, dict):
            return Response(400, "invalid_payload")
        if not any(message.get(name) for name in ("text", "blocks", "attachments")):
            return Response(400, "no_text")
        if found := list(violations(message)):
            self.violations += found
            return Response(400, "invalid_payload")
        self.messages.append(message)
        return Response(200, "ok")


def violations(message: Mapping[str, Any]) -> Iterator[str]:
    """What Slack's rules say against a message."""
    yield from _unknown("message", message, _MESSAGE_FIELDS)
    yield from _text("text", message.get("text", "-"), _LONGEST_TEXT)
    yield from _blocks(message.get("blocks", []))
    attachments = message.get("attachments", [])
    if len(attachments) > _MOST_ATTACHMENTS:
        yield f"{len(attachments)} attachments"
    for attachment in attachments:
        yield from _unknown("attachment", attachment, _ATTACHMENT_FIELDS)
        if not _COLOUR.fullmatch(attachment.get("color", "good")):
            yield f"colour {attachment['color']}"
        yield from _blocks(attachment.get("blocks", []))


def _blocks(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(blocks) > _MOST_BLOCKS:
        yield f"{len(blocks)} blocks"
    for block in blocks:
        match block:
            case {"type": "section", "text": text, **rest} if not rest:
                yield from _text_object(text, _LONGEST_SECTION)
            case {"type": "section", "fields": [*fields], **rest} if not rest:
                if not 1 <= len(fields) <= _MOST_FIELDS:
                    yield f"{len(fields)} fields"
                for field in fields:
                    yield from _text_object(field, _LONGEST_FIELD)
            case {"type": "context", "elements": [*elements], **rest} if not rest:
                if not 1 <= len(elements) <= _MOST_ELEMENTS:
                    yield f"{len(elements)} elements"
                for element in elements:
                    yield from _text_object(element, _LONGEST_ELEMENT)
            case _:
                yield f"this block is not one the double knows: {block}"


def _text_object(text: Any, longest: int) -> Iterator[str]:
    match text:
        case {"type": "mrkdwn", "text": str(content), **rest} if not rest:
            yield from _text("mrkdwn", content, longest)
        case _:
            yield f"no text object: {text}"


def _text(what: str, text: Any, longest: int) -> Iterator[str]:
    if not isinstance(text, str) or not text:
        yield f"{what} has no text"
        return
    # As JavaScript counts: UTF-16 code units.
    length = len(text.encode("utf-16-le")) // 2
    if length > longest:
        yield f"{what} has {length} of {longest} characters"
    if _UNESCAPED.search(text):
        yield f"{what} is not escaped: {text[:80]!r}"


def _unknown(what: str, fields: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    if extra := sorted(fields.keys() - known):
        yield f"{what} has unknown fields: {', '.join(extra)}"
