"""`alert` tasks: tell people, through every channel that is configured or those that the task names."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from opsagent_queue import EventPriority, EventType, Notes, QueueError, Task
from opsagent_worker.alerting.channel import Channel, ChannelName
from opsagent_worker.alerting.delivery import Delivered, Delivery, NotSent, Sent
from opsagent_worker.alerting.notification import (
    Action,
    Notification,
    default_dedup_key,
    read_severity,
    readable_details,
)
from opsagent_worker.durations import parse_duration
from opsagent_worker.errors import DeferredError, PermanentError, RetryableError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload

_VARIABLES: Final[Mapping[ChannelName, str]] = {
    "slack": "SLACK_WEBHOOK_URL",
    "pagerduty": "PAGERDUTY_ROUTING_KEY",
    "webhook": "ALERT_WEBHOOK_URL",
}

_MEMORY_MS: Final = 24 * 3600 * 1000
"""How long it is remembered which channels have had a task's alert: longer than all its attempts take."""

Window = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(ge=timedelta(0), le=timedelta(hours=24)),
]


class AlertPayload(Payload):
    """`alert_type`, `severity` and `message` are what every producer sends."""

    alert_type: str = Field(min_length=1)
    severity: str = Field(default="medium", min_length=1)
    message: str = Field(min_length=1)
    source: str | None = Field(
        default=None, min_length=1, validation_alias=AliasChoices("source", "service")
    )
    details: dict[str, Any] = Field(default={})
    action: Action = "trigger"
    dedup_key: str | None = Field(default=None, min_length=1, max_length=255)
    dedup_window: Window | None = None
    channels: tuple[ChannelName, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _names_what_it_ends(self) -> "AlertPayload":
        if self.action != "trigger" and self.dedup_key is None:
            raise ValueError(f"to {self.action} an alert, send the dedup_key it was triggered with")
        return self

    def notification(self, task: Task) -> Notification:
        """What is told."""
        severity, source = read_severity(self.severity), self.source or "opsagent"
        return Notification(
            alert_type=self.alert_type,
            severity=severity,
            message=self.message,
            action=self.action,
            dedup_key=self.dedup_key
            or default_dedup_key(
                alert_type=self.alert_type, severity=severity, source=source, message=self.message
            ),
            source=source,
            details=readable_details(self.details),
            task_id=task.task_id,
            trace_id=task.trace_id,
            created_at=task.created_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The result says what became of the alert in each channel.

    Channels do not wait for each other. The task completes when no channel is worth another attempt and one at least has the
    alert, or had it from another task. An attempt that follows a partial failure sends to the remaining channels only.
    """

    channels: Mapping[ChannelName, Channel]
    notes: Notes
    dedup_window: timedelta

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        payload = read_payload(AlertPayload, context.task)
        window = self.dedup_window if payload.dedup_window is None else payload.dedup_window
        notification = payload.notification(context.task)
        delivery = Delivery(self.notes, window.total_seconds(), context.log)
        told = await self._told_before(context)
        outcomes = await self._deliver(delivery, notification, self._chosen(payload), told)
        await self._publish(context, notification, outcomes)
        await self._judge(context, outcomes)
        return _result(notification, outcomes)

    def _chosen(self, payload: AlertPayload) -> list[ChannelName]:
        if not self.channels:
            raise PermanentError(
                f"there is nowhere to send alerts: set {', '.join(_VARIABLES.values())} or any of them in the "
                "worker's Secret"
            )
        chosen = list(dict.fromkeys(payload.channels or self.channels))
        if missing := [name for name in chosen if name not in self.channels]:
            raise PermanentError(
                "; ".join(f"{name} is not configured: set {_VARIABLES[name]}" for name in missing)
            )
        return chosen

    async def _deliver(
        self,
        delivery: Delivery,
        notification: Notification,
        chosen: list[ChannelName],
        told: frozenset[str],
    ) -> dict[ChannelName, Delivered]:
        async with asyncio.TaskGroup() as group:
            sending = {
                name: group.create_task(delivery.deliver(self.channels[name], notification))
                for name in chosen
                if name not in told
            }
        return {
            name: sending[name].result() if name in sending else Sent(earlier=True)
            for name in chosen
        }

    async def _told_before(self, context: TaskContext) -> frozenset[str]:
        """The channels that an earlier attempt of this task has sent to."""
        try:
            note = await self.notes.get(_memory(context.task))
        except QueueError as error:
            context.log.warning("earlier attempts of an alert not looked up", reason=str(error))
            return frozenset()
        return frozenset((note or "").split())

    async def _judge(self, context: TaskContext, outcomes: Mapping[ChannelName, Delivered]) -> None:
        """Raises what the failures mean for the task, unless it is done."""
        errors = {
            name: outcome.error
            for name, outcome in outcomes.items()
            if isinstance(outcome, NotSent)
        }
        if not errors:
            return
        text = "; ".join(map(str, errors.values()))
        passing = [error for error in errors.values() if not isinstance(error, PermanentError)]
        if not passing:
            if len(errors) == len(outcomes):
                raise PermanentError(text)
            context.log.error("alert not sent to every channel", error=text)
            return
        await self._remember(context, [name for name in outcomes if name not in errors])
        waits = [error.retry_after or 0.0 for error in passing if isinstance(error, RetryableError)]
        if not waits:
            # Nothing was even tried: the hosts are known to be down.
            raise DeferredError(
                text,
                retry_in=max(
                    error.retry_in for error in passing if isinstance(error, DeferredError)
                ),
            )
        raise RetryableError(text, retry_after=max(waits) or None)

    async def _remember(self, context: TaskContext, told: list[ChannelName]) -> None:
        if not told:
            return
        try:
            await self.notes.put(_memory(context.task), " ".join(told), ttl_ms=_MEMORY_MS)
        except QueueError as error:
            context.log.warning("channels that have an alert not remembered", reason=str(error))

    async def _publish(
        self,
        context: TaskContext,
        notification: Notification,
        outcomes: Mapping[ChannelName, Delivered],
    ) -> None:
        """`alert.triggered`, by the first attempt that has told somebody something new."""
        sent = [outcome for outcome in outcomes.values() if isinstance(outcome, Sent)]
        if notification.action != "trigger" or not sent or any(one.earlier for one in sent):
            return
        await context.emit(
            EventType.ALERT_TRIGGERED,
            _result(notification, outcomes),
            priority=EventPriority(notification.severity.value),
        )


def _memory(task: Task) -> str:
    return f"alerted:{task.task_id}"


def _result(
    notification: Notification, outcomes: Mapping[ChannelName, Delivered]
) -> dict[str, Any]:
    return {
        "alert_type": notification.alert_type,
        "severity": notification.severity.value,
        "message": notification.message,
        "action": notification.action,
        "dedup_key": notification.dedup_key,
        "channels": {name: outcome.to_result() for name, outcome in outcomes.items()},
    }
