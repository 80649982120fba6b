"""PagerDuty's Events API v2.

Fields, lengths and what answers mean: "Send an Alert Event" and "Events API v2 Overview" in PagerDuty's developer
documentation, the OpenAPI description "PagerDuty V2 Events API" 2.0, and the npm package @pagerduty/pdjs 2.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from opsagent_queue import parse_time
from opsagent_worker.alerting.channel import ChannelName
from opsagent_worker.alerting.notification import Notification, Severity, cut
from opsagent_worker.errors import PermanentError, RetryableError, TaskError
from opsagent_worker.outbound import call, refusal

_WHAT: Final = "PagerDuty"
_LONGEST_SUMMARY: Final = 1024
_LONGEST_MESSAGE: Final = 20_000
"""Ours: an event may have 512 KB in all."""

_PATIENCE: Final = 120.0
"""Seconds. PagerDuty asks for "a backoff of a few minutes" after a 429, and sends no Retry-After."""

_SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
}


@dataclass(frozen=True, slots=True)
class PagerDuty:
    client: httpx.AsyncClient
    base_url: str
    routing_key: str = field(repr=False)

    @property
    def name(self) -> ChannelName:
        return "pagerduty"

    def reserve(self) -> float:
        return 0.0

    async def send(self, notification: Notification) -> None:
        """See `Channel.send`. 202 means accepted; 429 and 5xx ask for another attempt, any other answer is final."""
        await call(
            self.client,
            "POST",
            f"{self.base_url}/v2/enqueue",
            what=_WHAT,
            refused=pagerduty_refusal,
            json=pagerduty_event(notification, routing_key=self.routing_key),
        )


def pagerduty_refusal(response: httpx.Response) -> TaskError:
    """The error that an answer means: PagerDuty lists what it does not like in `errors`."""
    error = refusal(response, what=_WHAT)
    match error:
        case RetryableError(retry_after=None) if (
            response.status_code == httpx.codes.TOO_MANY_REQUESTS
        ):
            return RetryableError(str(error), retry_after=_PATIENCE)
        case PermanentError():
            return PermanentError(f"{error}{_listed(response)}")
        case _:
            return error


def pagerduty_event(notification: Notification, *, routing_key: str) -> dict[str, Any]:
    """The body. What acknowledges or resolves needs the key only; a trigger says what is wrong as well."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": notification.action,
        "dedup_key": notification.dedup_key,
    }
    if notification.action != "trigger":
        return event
    payload: dict[str, Any] = {
        "summary": cut(f"{notification.alert_type}: {notification.message}", _LONGEST_SUMMARY),
        "source": notification.source,
        "severity": _SEVERITIES[notification.severity],
        "class": notification.alert_type,
        "custom_details": {
            **notification.details,
            "message": cut(notification.message, _LONGEST_MESSAGE),
            "task_id": notification.task_id,
            "trace_id": notification.trace_id,
        },
    }
    created = parse_time(notification.created_at)
    if created is not None:
        payload["timestamp"] = created.isoformat()
    return {**event, "client": "OpsAgent", "payload": payload}


def _listed(response: httpx.Response) -> str:
    try:
        match response.json():
            case {"errors": [*problems]} if problems:
                return cut(f" ({'; '.join(map(str, problems))})", 500)
    except ValueError:
        pass
    return ""
