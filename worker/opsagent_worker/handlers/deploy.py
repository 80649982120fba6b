"""`deploy` tasks: make a Vercel deployment, promote one, or roll production back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from opsagent_queue import EventPriority, EventType
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.deploy_build import Build, DeploymentFailedError
from opsagent_worker.handlers.deploy_payload import DeployPayload
from opsagent_worker.handlers.deploy_polling import Polling
from opsagent_worker.handlers.deploy_switch import Switch
from opsagent_worker.handlers.payload import read_payload
from opsagent_worker.vercel import VercelApi


@dataclass(frozen=True, slots=True)
class Deploy:
    """Bears repetition: whatever an earlier attempt has set going at Vercel is found there and followed."""

    vercel: VercelApi
    polling: Polling

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        payload = read_payload(DeployPayload, context.task)
        try:
            result = {**payload.about(), **await self._act(context, payload)}
        except PermanentError as error:
            details = error.details if isinstance(error, DeploymentFailedError) else {}
            await context.emit(
                EventType.DEPLOY_FAILED,
                {**payload.about(), **details, "error": str(error)},
                priority=EventPriority.HIGH,
            )
            raise
        await context.emit(_succeeded(payload), result)
        return result

    async def _act(self, context: TaskContext, payload: DeployPayload) -> Mapping[str, Any]:
        match payload.action:
            case "create":
                return await Build(self.vercel, self.polling).run(context, payload)
            case "promote":
                return await Switch(self.vercel, self.polling).promote(context, payload)
            case "rollback":
                return await Switch(self.vercel, self.polling).rollback(context, payload)
            case _:
                assert_never(payload.action)


def _succeeded(payload: DeployPayload) -> EventType:
    if payload.action == "rollback":
        return EventType.DEPLOY_ROLLED_BACK
    return EventType.DEPLOY_SUCCEEDED
