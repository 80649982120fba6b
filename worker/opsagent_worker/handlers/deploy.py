"""`deploy` tasks: create a Vercel deployment and follow it until it is ready or has failed."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, assert_never

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from opsagent_queue import EventPriority, EventType, Task, parse_time
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload
from opsagent_worker.vercel import Deployment, VercelApi

TASK_KEY: Final = "opsagentTask"
"""Entry of a deployment's `meta` that names the task it was made for."""


class GitSource(BaseModel):
    """Where the code is. Each provider wants fields of its own, which Vercel checks; all need a type."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Literal["github", "github-limited", "gitlab", "bitbucket", "vercel", "cursor-origin"]


class DeployPayload(Payload):
    project: str = Field(
        validation_alias=AliasChoices("project", "service"),
        # Vercel's rule for names of projects, and what keeps the name one segment of a path.
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
    )
    environment: Literal["production", "staging", "preview"] = "preview"
    git_source: GitSource | None = Field(default=None, alias="gitSource")


@dataclass(frozen=True, slots=True)
class Deploy:
    """The result describes the finished deployment.

    A task may run more than once (retry, lost lease, drain), a deployment must not: each carries the task's id in its
    `meta`, and an attempt that finds one made for its task follows that instead of making another. Without a
    `gitSource` the project's latest successful deployment is made again from the newest commit of its branch.
    """

    vercel: VercelApi
    poll_interval: float
    """Seconds between two looks at a running deployment."""

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        payload = read_payload(DeployPayload, context.task)
        started = time.monotonic()
        about = {"project": payload.project, "environment": payload.environment}
        try:
            deployment = await self._find(payload, context.task)
            if deployment is None:
                deployment = await self._create(payload, context.task)
                context.log.info("deployment created", deployment=deployment.id, **about)
                await context.emit(EventType.DEPLOY_STARTED, {**about, **_describe(deployment)})
            else:
                context.log.info("deployment resumed", deployment=deployment.id, **about)
            deployment = await self._follow(deployment)
        except PermanentError as error:
            failure = {**about, "error": str(error)}
            await context.emit(EventType.DEPLOY_FAILED, failure, priority=EventPriority.HIGH)
            raise
        result = {
            **about,
            **_describe(deployment),
            "seconds": round(time.monotonic() - started, 3),
        }
        await context.emit(EventType.DEPLOY_SUCCEEDED, result)
        return result

    async def _find(self, payload: DeployPayload, task: Task) -> Deployment | None:
        """The deployment an earlier attempt made for this task; a deployment is never older than its task."""
        candidates = await self.vercel.deployments_since(
            payload.project, parse_time(task.created_at)
        )
        return next(
            (found for found in candidates if found.meta.get(TASK_KEY) == task.task_id), None
        )

    async def _create(self, payload: DeployPayload, task: Task) -> Deployment:
        body: dict[str, Any] = {
            "name": payload.project,
            "project": payload.project,
            "meta": {TASK_KEY: task.task_id},
        }
        if payload.environment != "preview":
            # A deployment without a target is a preview.
            body["target"] = payload.environment
        if payload.git_source is not None:
            body["gitSource"] = payload.git_source.model_dump()
        else:
            latest = await self.vercel.latest_ready(
                payload.project, environment=payload.environment
            )
            if latest is None:
                raise PermanentError(
                    f"project {payload.project!r} has no successful {payload.environment} deployment to repeat: "
                    "send a gitSource, such as {type: github, org: …, repo: …, ref: main}"
                )
            body |= {"deploymentId": latest.id, "withLatestCommit": True}
        return await self.vercel.create_deployment(body)

    async def _follow(self, deployment: Deployment) -> Deployment:
        """The deployment once it is ready.

        Raises:
            PermanentError: it failed; the same sources would fail again.
        """
        while True:
            match deployment.ready_state:
                case "READY":
                    return deployment
                case "ERROR" | "CANCELED" | "BLOCKED" | "DELETED":
                    raise PermanentError(_failure(deployment))
                case "QUEUED" | "INITIALIZING" | "BUILDING":
                    await asyncio.sleep(self.poll_interval)
                    deployment = await self.vercel.get_deployment(deployment.id)
                case state:
                    assert_never(state)


def _describe(deployment: Deployment) -> dict[str, Any]:
    return {
        "deployment_id": deployment.id,
        "state": deployment.ready_state,
        "url": None if deployment.url is None else f"https://{deployment.url}",
        "inspector_url": deployment.inspector_url,
    }


def _failure(deployment: Deployment) -> str:
    reason = deployment.error_message or deployment.error_code
    text = f"deployment {deployment.id} ended as {deployment.ready_state}"
    text = f"{text}: {reason}" if reason else text
    return f"{text} (see {deployment.inspector_url})" if deployment.inspector_url else text
