"""`monitor` tasks: check a URL or a named service once, and tell when its health changes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator

from opsagent_queue import EventPriority, EventType, Notes, QueueError
from opsagent_worker.checks.expectations import Expectations
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.services import Services
from opsagent_worker.durations import parse_duration
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload

_MEMORY_MS: Final = 7 * 24 * 3600 * 1000
"""How long a target's health is remembered: longer than any interval at which somebody would monitor it."""

Patience = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(gt=timedelta(0), le=timedelta(minutes=1)),
]


class MonitorPayload(Payload):
    """`url` or `service` is all that is needed; the rest says what a healthy answer is like (`Expectations`)."""

    url: str | None = Field(default=None, min_length=1)
    service: str | None = Field(default=None, min_length=1)
    timeout: Patience = timedelta(seconds=10)
    certificate_days: int = Field(default=14, ge=0)
    slow_ms: float | None = Field(default=None, gt=0)
    expect_status: int | None = Field(default=None, ge=100, le=599)
    expect_body: str | None = Field(default=None, min_length=1)
    follow_redirects: bool = True

    @model_validator(mode="after")
    def _names_one_target(self) -> "MonitorPayload":
        if self.url is None and self.service is None:
            raise ValueError("needs a url, or the name of a service")
        return self

    def expectations(self) -> Expectations:
        return Expectations(
            timeout=self.timeout.total_seconds(),
            warn_days=self.certificate_days,
            slow_ms=self.slow_ms,
            http_status=self.expect_status,
            body=self.expect_body,
            follow_redirects=self.follow_redirects,
        )


@dataclass(frozen=True, slots=True)
class Monitor:
    """The result is the health report and whether it is news.

    An unhealthy target is what the task was to find out: the task completes. `health.degraded` is published when a target
    was not unhealthy at its previous check and is now, `health.recovered` when it is the other way round. Workers that
    check the same target at the same time publish one event between them.
    """

    services: Services
    notes: Notes

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        payload = read_payload(MonitorPayload, context.task)
        try:
            report = await self._check(payload)
        except ValueError as error:
            raise PermanentError(str(error)) from None
        changed = await self._changed(payload, report, context)
        result = {"service": payload.service, **report.to_result(), "changed": changed}
        if not report.healthy:
            context.log.warning("target is not healthy", target=report.target, reason=report.detail)
        if changed and report.healthy:
            await context.emit(EventType.HEALTH_RECOVERED, result)
        elif changed:
            await context.emit(EventType.HEALTH_DEGRADED, result, priority=EventPriority.HIGH)
        return result

    async def _check(self, payload: MonitorPayload) -> HealthReport:
        wanted = payload.expectations()
        if payload.url is not None:
            return await self.services.check_url(payload.url, wanted)
        return await self.services.check(payload.service or "", wanted)

    async def _changed(
        self, payload: MonitorPayload, report: HealthReport, context: TaskContext
    ) -> bool:
        """Whether the target was on the other side of unhealthy at its previous check; before its first it counts as healthy."""
        identity = f"service {payload.service}" if payload.url is None else payload.url
        # A digest: the name of a key is no place for a URL that may carry a secret.
        digest = hashlib.sha256(identity.encode()).hexdigest()
        now = "healthy" if report.healthy else "unhealthy"
        try:
            before = await self.notes.exchange(f"health:{digest}", now, ttl_ms=_MEMORY_MS)
        except QueueError as error:
            context.log.warning("health not remembered", reason=str(error))
            return False
        return now != (before or "healthy")
