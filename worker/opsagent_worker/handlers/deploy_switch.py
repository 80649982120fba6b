"""Sends a project's production traffic to another deployment, without building anything: promotion and rollback."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, cast

from opsagent_queue import EventType, parse_time
from opsagent_worker.errors import PermanentError, RetryableError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.deploy_payload import DeployPayload
from opsagent_worker.handlers.deploy_polling import Polling
from opsagent_worker.vercel import AliasRequest, Deployment, Project, VercelApi

# UpdateProjectRollbackDescription of @vercel/sdk 1.28.
_LONGEST_DESCRIPTION: Final = 250

_UNDER_WAY: Final = frozenset({"pending", "in-progress"})

_OUTCOMES: Final = {
    "failed": "failed: not all of its domains could be assigned",
    "skipped": "was skipped by Vercel",
}
"""Of requests that did not come off."""

# Vercel notes a rollback's description and the request itself one after the other.
_SAME_MOMENT_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Switch:
    """Requests once, then waits until Vercel has carried the request out.

    A rollback carries its task's key in the description that Vercel keeps with it, so that a later attempt goes on with
    the target that the first one chose: the "previous" deployment is another one afterwards. A promotion names its target
    and is known by it.
    """

    vercel: VercelApi
    polling: Polling

    async def promote(self, context: TaskContext, payload: DeployPayload) -> dict[str, Any]:
        named = cast("str", payload.deployment)  # a rule of the payload's
        project = await self._project(context, payload)
        target = await self._target(context, project, named)
        if target.target != "production":
            raise PermanentError(
                f"deployment {target.id} was not built for production, and a promotion builds nothing: "
                f"send {{action: create, environment: production, deployment: {target.id}}}"
            )
        under_way = _promotion_under_way(project, target)
        if under_way is None:
            if _serves(project, target):
                return _described(project, target, was=_came_from(project, target))
            was, before = _serving(project), project.last_alias_request
            await self.vercel.promote(project, target.id)
            context.log.info("promotion requested", deployment=target.id)
            await context.emit(
                EventType.DEPLOY_STARTED, {**payload.about(), "deployment_id": target.id}
            )
        else:
            was, before = under_way.from_deployment_id, None
        await self._carried_out(context, project, "promote", target, before=before)
        return _described(project, target, was=was)

    async def rollback(self, context: TaskContext, payload: DeployPayload) -> dict[str, Any]:
        project = await self._project(context, payload)
        mine = self._requested_before(context, project)
        if mine is None:
            target = await self._chosen(context, project, payload)
            if _serves(project, target):
                return _described(project, target, was=_came_from(project, target))
            was, before = _serving(project), project.last_alias_request
            await self._request_rollback(context, payload, project, target)
        else:
            target = await self._target(context, project, mine.to_deployment_id)
            was, before = mine.from_deployment_id, None
            if mine.job_status in _OUTCOMES:
                # It did not come off then, and its task was sent again.
                before = mine
                await self._request_rollback(context, payload, project, target)
        await self._carried_out(context, project, "rollback", target, before=before)
        return _described(project, target, was=was)

    async def _request_rollback(
        self, context: TaskContext, payload: DeployPayload, project: Project, target: Deployment
    ) -> None:
        description = _description(context, payload)
        await self.vercel.rollback(project, target.id, description=description)
        context.log.info("rollback requested", deployment=target.id)

    def _requested_before(self, context: TaskContext, project: Project) -> AliasRequest | None:
        """The rollback that an earlier attempt asked for.

        Raises:
            PermanentError: somebody has switched traffic again since, and would not want this undone.
        """
        kept, last = project.rollback_description, project.last_alias_request
        if kept is None or _mark(context) not in kept.description:
            return None
        if last is None or last.requested_at < kept.created_at - _SAME_MOMENT_MS:
            raise RetryableError(
                f"the rollback of project {project.name!r} has been asked for, but cannot be seen yet",
                retry_after=self.polling.interval,
            )
        if last.type != "rollback":
            raise _superseded(project, last)
        return last

    async def _chosen(
        self, context: TaskContext, project: Project, payload: DeployPayload
    ) -> Deployment:
        """The deployment that was named, or the newest of those Vercel can roll back to that is older than the current."""
        if payload.deployment is not None:
            return await self._target(context, project, payload.deployment)
        last, asked_at = project.last_alias_request, parse_time(context.task.created_at)
        if last and asked_at and last.requested_at > asked_at.timestamp() * 1000:
            # Whoever sent the task meant what was in production then. Two of them at once go back by one, not by two.
            raise _superseded(project, last)
        current = project.production
        if current is None:
            raise PermanentError(f"project {project.name!r} has nothing in production to roll back")
        candidates = await self.polling.ask(
            partial(self.vercel.rollback_candidates, project.id, older_than=current.created_at),
            context.log,
        )
        older = [found for found in candidates if found.id != current.id]
        if not older:
            raise PermanentError(
                f"project {project.name!r} has no earlier production deployment to roll back to"
            )
        return older[0]

    async def _project(self, context: TaskContext, payload: DeployPayload) -> Project:
        return await self.polling.ask(
            partial(self.vercel.get_project, payload.project), context.log
        )

    async def _target(self, context: TaskContext, project: Project, id_or_host: str) -> Deployment:
        """A deployment of this project that can take traffic."""
        found = await self.polling.ask(partial(self.vercel.get_deployment, id_or_host), context.log)
        if found.project_id not in {None, project.id}:
            raise PermanentError(
                f"deployment {found.id} does not belong to project {project.name!r}"
            )
        if not found.ready:
            raise PermanentError(
                f"deployment {found.id} is {found.ready_state}: only one that is READY can take production traffic"
            )
        return found

    async def _carried_out(
        self,
        context: TaskContext,
        project: Project,
        kind: Literal["promote", "rollback"],
        target: Deployment,
        *,
        before: AliasRequest | None,
    ) -> None:
        """Returns once Vercel has done what was asked for; `before` is the request it knew until then.

        Raises:
            PermanentError: it could not, something else was asked for meanwhile, or it took too long.
        """
        end = time.monotonic() + self.polling.patience
        told = None
        while True:
            project = await self.polling.ask(
                partial(self.vercel.get_project, project.id), context.log
            )
            last = project.last_alias_request
            status = "pending"
            if last is not None and last != before:
                if (last.type, last.to_deployment_id) != (kind, target.id):
                    raise _superseded(project, last)
                status = last.job_status
            if status != told:
                told = status
                context.progress(None, f"the {kind} to {target.id} is {status}")
            if status == "succeeded":
                return
            if status in _OUTCOMES:
                raise PermanentError(
                    f"the {kind} of project {project.name!r} to {target.id} {_OUTCOMES[status]}"
                )
            if time.monotonic() > end:
                raise PermanentError(
                    f"the {kind} of project {project.name!r} to {target.id} was still {status} after "
                    f"{self.polling.patience:g} s; Vercel may yet carry it out"
                )
            await self.polling.pause()


def _described(project: Project, target: Deployment, *, was: str | None) -> dict[str, Any]:
    return {
        "project_id": project.id,
        "previous_deployment_id": was,
        "deployment_id": target.id,
        "url": None if target.url is None else f"https://{target.url}",
        "inspector_url": target.inspector_url,
    }


def _promotion_under_way(project: Project, target: Deployment) -> AliasRequest | None:
    last = project.last_alias_request
    if last is None or (last.type, last.to_deployment_id) != ("promote", target.id):
        return None
    return last if last.job_status in _UNDER_WAY else None


def _serving(project: Project) -> str | None:
    return None if project.production is None else project.production.id


def _serves(project: Project, target: Deployment) -> bool:
    return _serving(project) == target.id


def _came_from(project: Project, target: Deployment) -> str | None:
    """What had production traffic before `target` got it, as far as Vercel remembers."""
    last = project.last_alias_request
    return last.from_deployment_id if last and last.to_deployment_id == target.id else None


def _superseded(project: Project, last: AliasRequest) -> PermanentError:
    return PermanentError(
        f"project {project.name!r} has been asked for something else since: a {last.type} to {last.to_deployment_id}"
    )


def _mark(context: TaskContext) -> str:
    return f"[task {context.idempotency_key}]"


def _description(context: TaskContext, payload: DeployPayload) -> str:
    mark = _mark(context)
    reason = payload.reason or "Rolled back by a deploy task"
    return f"{reason[: _LONGEST_DESCRIPTION - len(mark) - 1]} {mark}"
