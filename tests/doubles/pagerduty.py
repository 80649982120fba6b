"""PagerDuty's Events API v2: takes what PagerDuty takes, and knows which alerts are open.

Rules, from PagerDuty's own descriptions:
- "Send an Alert Event" and "Events API v2 Overview" (github.com/PagerDuty/developer-docs, docs/events-API-v2, at commit
  1da9f6a): parameters, 32 characters of a routing key, 255 of a dedup_key, 1,024 of a summary, 512 KB in all, what each
  action does to an alert, 202/400/429;
- OpenAPI description "PagerDuty V2 Events API" 2.0 (github.com/PagerDuty/api-schema, reference/events-v2, at commit 5cd58ff)
  and the types of npm package @pagerduty/pdjs 2.2.4: fields, enums, what is required, the answers' bodies.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from doubles.loopback import LoopbackServer, Request, Response

_ACTIONS: Final = {"trigger", "acknowledge", "resolve"}
_SEVERITIES: Final = {"critical", "error", "warning", "info"}
_FIELDS: Final = {
    "routing_key",
    "event_action",
    "dedup_key",
    "client",
    "client_url",
    "links",
    "images",
    "payload",
}
_TEXTS: Final = {"summary", "source", "component", "group", "class"}
_PAYLOAD_FIELDS: Final = {*_TEXTS, "severity", "timestamp", "custom_details"}
_LONGEST_KEY: Final = 255
_LONGEST_SUMMARY: Final = 1024
_LARGEST_BODY: Final = 512 * 1024


class PagerDutyDouble(LoopbackServer):
    def __init__(self, *, routing_key: str) -> None:
        super().__init__(self._respond)
        self.events: list[dict[str, Any]] = []
        self.alerts: dict[str, str] = {}
        """Open alerts by dedup_key: triggered or acknowledged."""
        self.violations: list[str] = []
        """What PagerDuty's rules say against events that were sent."""
        self.next_responses: list[Response] = []
        """Given instead of the usual answers, first one first."""
        self._routing_key = routing_key

    def _respond(self, request: Request) -> Response:
        if self.next_responses:
            return self.next_responses.pop(0)
        if (request.method, request.path) != ("POST", "/v2/enqueue"):
            return Response(404, {"status": "not found", "message": "Not found"})
        try:
            event = request.json()
        except json.JSONDecodeError:
            return _invalid("JSON parse error")
        found = list(violations(event))
        if len(request.body) > _LARGEST_BODY:
            found.append(f"{len(request.body)} bytes")
        if request.headers.get("content-type") != "application/json":
            found.append("the content type is not application/json")
        if found:
            self.violations += found
            return _invalid(*found)
        if event["routing_key"] != self._routing_key:
            return _invalid("routing_key is unknown")
        self.events.append(event)
        self._apply(event["event_action"], event["dedup_key"])
        answer = {
            "status": "success",
            "message": "Event processed",
            "dedup_key": event["dedup_key"],
        }
        return Response(202, answer)

    def _apply(self, action: str, key: str) -> None:
        match action:
            case "trigger":
                self.alerts.setdefault(key, "triggered")
            case "acknowledge" if key in self.alerts:
                self.alerts[key] = "acknowledged"
            case "resolve":
                self.alerts.pop(key, None)
            case _:
                pass  # PagerDuty drops it


def violations(event: Any) -> Iterator[str]:
    """What PagerDuty's rules say against an event."""
    if not isinstance(event, dict):
        yield "Event object format is unrecognized"
        return
    yield from (f"unknown field {name}" for name in event.keys() - _FIELDS)
    if len(str(event.get("routing_key", ""))) != 32:
        yield "Length of 'routing_key' is incorrect (should be 32 characters)"
    action = event.get("event_action")
    if action not in _ACTIONS:
        yield "'event_action' is invalid"
    key = event.get("dedup_key")
    if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
        # Optional for a trigger; without it a repeated one opens another alert, which is never what we want.
        yield "'dedup_key' is missing or too long"
    if action == "trigger":
        yield from _payload(event.get("payload"))
    elif "payload" in event:
        yield f"an event that is to {action} an alert needs no payload"


def _payload(payload: Any) -> Iterator[str]:
    if not isinstance(payload, Mapping):
        yield "'payload' is missing"
        return
    yield from (f"unknown field payload.{name}" for name in payload.keys() - _PAYLOAD_FIELDS)
    for name in ("summary", "source"):
        if not payload.get(name):
            yield f"'payload.{name}' is missing or blank"
    yield from (
        f"'payload.{name}' is no text"
        for name in _TEXTS & payload.keys()
        if not isinstance(payload[name], str)
    )
    if len(str(payload.get("summary", ""))) > _LONGEST_SUMMARY:
        yield "'payload.summary' is too long"
    if payload.get("severity") not in _SEVERITIES:
        yield "'payload.severity' is invalid"
    if "timestamp" in payload and datetime.fromisoformat(payload["timestamp"]).tzinfo is None:
        yield "'payload.timestamp' has no offset"
    if not isinstance(payload.get("custom_details", {}), Mapping):
        yield "'payload.custom_details' is no object"


def _invalid(*errors: str) -> Response:
    body = {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}
    return Response(400, body)
