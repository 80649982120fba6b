"""Makes a Vercel deployment, and follows it until it is ready or has failed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

from opsagent_queue import EventType, parse_time
from opsagent_worker.cancellation import finish_first
from opsagent_worker.errors import PermanentError, RetryableError, TaskError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.deploy_payload import DeployPayload
from opsagent_worker.handlers.deploy_polling import Polling
from opsagent_worker.vercel import Deployment, VercelApi

TASK_KEY: Final = "opsagentTask"
"""Entry of a deployment's `meta` that names the task it was made for."""

# Of the few seconds a worker gives its tasks at the end of a drain: a creation that is on its way should arrive.
_CREATION_SECONDS: Final = 4.0

_CALL_OFF_SECONDS: Final = 15.0

# Domains follow within seconds. One that never does is no reason to fail a build that succeeded.
_ALIAS_SECONDS: Final = 60.0

_LOG_LINES: Final = 20


class DeploymentFailedError(PermanentError):
    """`details` go into the event that tells of it."""

    def __init__(self, message: str, *, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True, slots=True)
class Build:
    """One task, one deployment, however often the task runs.

    Each deployment carries its task's key in its `meta`, and an attempt that finds one follows that. One that has ended
    badly is passed over: a task that runs after its build has failed was sent again, to be built again.
    """

    vercel: VercelApi
    polling: Polling

    async def run(self, context: TaskContext, payload: DeployPayload) -> dict[str, Any]:
        try:
            deployment = await self.polling.ask(partial(self._find, context, payload), context.log)
            if deployment is None:
                deployment = await self._create(context, payload)
            else:
                context.log.info("deployment resumed", deployment=deployment.id)
            return describe(await self._follow(context, deployment))
        finally:
            # However this ended: when the task is cancelled, nobody is left to want what it has going on at Vercel.
            if context.task_cancelled:
                await finish_first(self._call_off(context, payload), patience=_CALL_OFF_SECONDS)

    async def _find(self, context: TaskContext, payload: DeployPayload) -> Deployment | None:
        """What was made for this task; a deployment is never older than its task.

        There are two if a worker was taken for dead while it was about to create one, and did so in the end. The older one
        counts, for whoever looks, and the other is cancelled.
        """
        created_at = parse_time(context.task.created_at)
        own = [
            found
            async for found in self.vercel.deployments_since(payload.project, created_at)
            if found.meta.get(TASK_KEY) == context.idempotency_key and not found.ended_badly
        ]
        for surplus in own[:-1]:
            if surplus.running:
                await self._cancel_surplus(context, surplus)
        return own[-1] if own else None

    async def _cancel_surplus(self, context: TaskContext, surplus: Deployment) -> None:
        try:
            await self.vercel.cancel_deployment(surplus.id)
        except TaskError as error:
            # The other attempt may have been faster.
            context.log.warning("second deployment not cancelled", reason=str(error))
        else:
            context.log.warning("second deployment of a task cancelled", deployment=surplus.id)

    async def _create(self, context: TaskContext, payload: DeployPayload) -> Deployment:
        body = await self._request(context, payload)
        try:
            deployment = await finish_first(
                self._created(context, payload, body), patience=_CREATION_SECONDS
            )
        except RetryableError as error:
            # It may have been made all the same. The next attempt should not look for it before Vercel shows it.
            wait = max(error.retry_after or 0.0, self.polling.interval)
            raise RetryableError(str(error), retry_after=wait) from error
        return deployment

    async def _created(
        self, context: TaskContext, payload: DeployPayload, body: Mapping[str, Any]
    ) -> Deployment:
        deployment = await self.vercel.create_deployment(body)
        context.log.info("deployment created", deployment=deployment.id)
        await context.emit(EventType.DEPLOY_STARTED, {**payload.about(), **describe(deployment)})
        try:
            first = await self._find(context, payload)
        except TaskError as error:
            context.log.warning("not looked for a second deployment", reason=str(error))
            return deployment
        return deployment if first is None else first

    async def _request(self, context: TaskContext, payload: DeployPayload) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            "name": payload.project,
            "project": payload.project,
            "meta": {TASK_KEY: context.idempotency_key},
        }
        if payload.environment != "preview":
            # A deployment without a target is a preview.
            body["target"] = payload.environment
        if payload.git_source is not None:
            return {**body, "gitSource": payload.git_source.wire()}
        if payload.deployment is not None:
            return {**body, "deploymentId": await self._id_of(context, payload.deployment)}
        latest = await self.polling.ask(
            partial(self.vercel.latest_ready, payload.project, environment=payload.environment),
            context.log,
        )
        if latest is None:
            raise PermanentError(
                f"project {payload.project!r} has no successful {payload.environment} deployment to repeat: "
                "send a gitSource, such as {type: github, org: …, repo: …, ref: main}"
            )
        return {**body, "deploymentId": latest.id, "withLatestCommit": True}

    async def _id_of(self, context: TaskContext, id_or_host: str) -> str:
        found = await self.polling.ask(partial(self.vercel.get_deployment, id_or_host), context.log)
        return found.id

    async def _follow(self, context: TaskContext, deployment: Deployment) -> Deployment:
        """The deployment once it is ready and its domains lead to it.

        Raises:
            PermanentError: it failed, or took too long; the same sources would again.
        """
        told, ready_since = None, None
        while True:
            if deployment.ready_state != told:
                told = deployment.ready_state
                context.progress(None, f"deployment {deployment.id} is {told}")
            if deployment.ended_badly:
                raise await self._failure(context, deployment)
            if deployment.ready:
                if deployment.alias_error is not None:
                    raise _not_reachable(deployment)
                ready_since = ready_since or time.monotonic()
                if deployment.alias_assigned or time.monotonic() - ready_since > _ALIAS_SECONDS:
                    return deployment
            elif _age(deployment) > self.polling.patience:
                await self._give_up(context, deployment)
            await self.polling.pause()
            deployment = await self.polling.ask(
                partial(self.vercel.get_deployment, deployment.id), context.log
            )

    async def _failure(self, context: TaskContext, deployment: Deployment) -> DeploymentFailedError:
        reason = deployment.error_message or deployment.error_code
        text = f"deployment {deployment.id} ended as {deployment.ready_state}"
        text = f"{text}: {reason}" if reason else text
        details = describe(deployment)
        if deployment.ready_state == "ERROR":
            details["log"] = await self._end_of_log(context, deployment)
        return DeploymentFailedError(_see(text, deployment), details=details)

    async def _end_of_log(self, context: TaskContext, deployment: Deployment) -> list[str]:
        try:
            return await self.vercel.last_log_lines(deployment.id, count=_LOG_LINES)
        except TaskError as error:
            context.log.warning("build log not read", reason=str(error))
            return []

    async def _give_up(self, context: TaskContext, deployment: Deployment) -> NoReturn:
        """What its task no longer waits for must not go live behind everybody's back."""
        text = (
            f"deployment {deployment.id} was still {deployment.ready_state} after "
            f"{self.polling.patience:g} s and has been cancelled"
        )
        cancelled = await self.polling.ask(
            partial(self.vercel.cancel_deployment, deployment.id), context.log
        )
        raise DeploymentFailedError(_see(text, deployment), details=describe(cancelled))

    async def _call_off(self, context: TaskContext, payload: DeployPayload) -> None:
        """Cancels the deployment of a cancelled task. Looks for it first: its creation may have been on its way."""
        try:
            found = await self.polling.ask(partial(self._find, context, payload), context.log)
            if found is None or not found.running:
                return
            cancelled = await self.polling.ask(
                partial(self.vercel.cancel_deployment, found.id), context.log
            )
        except TaskError as error:
            context.log.warning("deployment not cancelled with its task", reason=str(error))
            return
        context.log.info("deployment cancelled with its task", deployment=cancelled.id)
        await context.emit(
            EventType.DEPLOY_FAILED,
            {**payload.about(), **describe(cancelled), "error": "its task was cancelled"},
        )


def describe(deployment: Deployment) -> dict[str, Any]:
    """What results and events tell of a deployment."""
    seconds = None
    if deployment.created_at is not None and deployment.ready_at is not None:
        seconds = round((deployment.ready_at - deployment.created_at) / 1000, 3)
    return {
        "deployment_id": deployment.id,
        "state": deployment.ready_state,
        "substate": deployment.ready_substate,
        "url": None if deployment.url is None else f"https://{deployment.url}",
        "inspector_url": deployment.inspector_url,
        "aliases_assigned": bool(deployment.alias_assigned),
        "seconds": seconds,
    }


def _not_reachable(deployment: Deployment) -> DeploymentFailedError:
    error = deployment.alias_error
    reason = (error.message or error.code) if error is not None else ""
    text = f"deployment {deployment.id} is ready, but its domains do not lead to it: {reason}"
    return DeploymentFailedError(_see(text, deployment), details=describe(deployment))


def _see(text: str, deployment: Deployment) -> str:
    return f"{text} (see {deployment.inspector_url})" if deployment.inspector_url else text


def _age(deployment: Deployment) -> float:
    """Seconds since it was made; 0 if Vercel does not tell."""
    if deployment.created_at is None:
        return 0.0
    return time.time() - deployment.created_at / 1000
