"""`monitor` tasks: check a URL or a named service once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import Field, model_validator

from opsagent_queue import EventPriority, EventType
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload
from opsagent_worker.health_check import check_health


class MonitorPayload(Payload):
    url: str | None = Field(default=None, min_length=1)
    service: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _names_one_target(self) -> "MonitorPayload":
        if self.url is None and self.service is None:
            raise ValueError("needs a url, or the name of a service")
        return self


@dataclass(frozen=True, slots=True)
class Monitor:
    """The result is the health check's; a target that is not healthy also publishes `health.degraded`.

    An unhealthy target is what the task was to find out: the task completes.
    """

    client: httpx.AsyncClient
    services: Mapping[str, str]
    """URL of each service that a task may name."""

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        payload = read_payload(MonitorPayload, context.task)
        url = payload.url if payload.url is not None else self._resolve(payload.service or "")
        check = await check_health(self.client, url)
        result = {"service": payload.service, **check.to_result()}
        if not check.healthy:
            context.log.warning("target is not healthy", url=url, reason=check.error)
            await context.emit(EventType.HEALTH_DEGRADED, result, priority=EventPriority.HIGH)
        return result

    def _resolve(self, service: str) -> str:
        url = self.services.get(service)
        if url is None:
            known = ", ".join(sorted(self.services)) or "none"
            raise PermanentError(
                f"service {service!r} is not known (known: {known}); send a url, or add the service to "
                "MONITOR_SERVICE_URLS as name=URL (orchestrator: set ORCHESTRATOR_URL)"
            )
        return url
