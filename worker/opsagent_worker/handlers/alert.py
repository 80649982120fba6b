"""`alert` tasks: tell people, through Slack or any other webhook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from pydantic import Field

from opsagent_queue import EventPriority, EventType, Task
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload
from opsagent_worker.outbound import call

_PRIORITIES: Final = {
    "critical": EventPriority.CRITICAL,
    "high": EventPriority.HIGH,
    "error": EventPriority.HIGH,
    "low": EventPriority.LOW,
    "info": EventPriority.LOW,
}

# Slack cuts a text at 40,000 characters; nobody reads a tenth of that in an alert.
_LONGEST_MESSAGE: Final = 4000


class AlertPayload(Payload):
    alert_type: str = Field(min_length=1)
    severity: str = Field(default="medium", min_length=1)
    message: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Alert:
    """Sends to every webhook that is configured, then publishes `alert.triggered`.

    At least once: if the second webhook fails, the retry tells the first one again. `task_id` in the generic webhook's
    body lets a receiver see that.
    """

    client: httpx.AsyncClient
    slack_url: str | None
    webhook_url: str | None

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        alert = read_payload(AlertPayload, context.task)
        if self.slack_url is None and self.webhook_url is None:
            raise PermanentError(
                "there is nowhere to send alerts: set SLACK_WEBHOOK_URL or ALERT_WEBHOOK_URL in the worker's Secret"
            )
        sent_to = []
        if self.slack_url is not None:
            body: dict[str, Any] = {"text": slack_text(alert, context.task)}
            await call(self.client, "POST", self.slack_url, what="the Slack webhook", json=body)
            sent_to.append("slack")
        if self.webhook_url is not None:
            body = {
                **alert.model_dump(),
                "task_id": context.task.task_id,
                "trace_id": context.task.trace_id,
            }
            await call(self.client, "POST", self.webhook_url, what="the alert webhook", json=body)
            sent_to.append("webhook")
        result = {**alert.model_dump(), "sent_to": sent_to}
        priority = _PRIORITIES.get(alert.severity.lower(), EventPriority.MEDIUM)
        await context.emit(EventType.ALERT_TRIGGERED, result, priority=priority)
        return result


def slack_text(alert: AlertPayload, task: Task) -> str:
    """The message in Slack's mrkdwn, in which &, < and > must be written as entities."""
    message = alert.message[:_LONGEST_MESSAGE]
    return (
        f"*{_escape(alert.severity.upper())}* {_escape(alert.alert_type)}\n{_escape(message)}\n"
        f"_task {_escape(task.task_id)}_"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
