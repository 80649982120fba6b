"""Events about an object, as `kubectl describe` shows them.

They are core/v1 Events with a count, because that is what `kubectl describe` and `kubectl get events`
fold into one line ("3m (x5 over 20m)"). The name follows from the content, so that the same event
told again is the same object, also after a restart of the operator.
"""

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from opsagent_operator.kube.client import EVENTS, WORKERS, Kube
from opsagent_operator.kube.errors import Conflict, KubeError, NamespaceTerminating
from opsagent_operator.model.observed import Worker
from opsagent_operator.model.plan import Event

__all__ = ["EventRecorder"]

COMPONENT: Final = "opsagent-operator"
MESSAGE_LIMIT: Final = 1024
"""Bytes; the API server takes no more."""
REPEAT_INTERVAL: Final = 10.0
"""Seconds within which the same event is written once."""

log = structlog.get_logger(__name__)


class EventRecorder:
    """Writes events. Never fails: an event that cannot be written is logged and forgotten."""

    def __init__(self, *, kube: Kube) -> None:
        self._kube = kube
        self._written: dict[str, float] = {}

    async def record(self, worker: Worker, event: Event) -> None:
        """Tell that `event` has happened to `worker`, just now."""
        name = _name(worker, event)
        now = asyncio.get_running_loop().time()
        if now < self._written.get(name, float("-inf")) + REPEAT_INTERVAL:
            return
        self._written = {
            known: at for known, at in self._written.items() if now < at + REPEAT_INTERVAL
        }
        self._written[name] = now
        try:
            await self._write(name, worker, event)
        except NamespaceTerminating:
            pass
        except KubeError as error:
            log.warning("event lost", object=f"{worker.namespace}/{worker.name}", error=str(error))

    async def _write(self, name: str, worker: Worker, event: Event) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            await self._kube.create(EVENTS, _manifest(name, worker, event, at=at))
        except Conflict:
            key = {"namespace": worker.namespace, "name": name}
            count = (await self._kube.get(EVENTS, **key)).get("count") or 1
            await self._kube.merge(EVENTS, {"count": count + 1, "lastTimestamp": at}, **key)


def _name(worker: Worker, event: Event) -> str:
    content = f"{worker.uid}\n{event.type}\n{event.reason}\n{event.message}"
    return f"{worker.name}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _manifest(name: str, worker: Worker, event: Event, *, at: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": worker.namespace, "name": name},
        "involvedObject": {
            "apiVersion": WORKERS.api_version,
            "kind": WORKERS.kind,
            "namespace": worker.namespace,
            "name": worker.name,
            "uid": worker.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": _clip(event.message),
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
    }


def _clip(message: str) -> str:
    """`message`, cut at a whole character so that it fits."""
    data = message.encode()
    if len(data) <= MESSAGE_LIMIT:
        return message
    ellipsis = "…"
    return data[: MESSAGE_LIMIT - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
