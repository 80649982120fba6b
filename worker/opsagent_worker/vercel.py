"""The part of the Vercel REST API that deploy tasks need.

Paths, parameters and fields follow Vercel's own client, the npm package @vercel/sdk 1.28. It leaves out the reading of one
project (GET /v9/projects/{idOrName}, described in Vercel's REST reference), which is done as Vercel's command line does it
(npm package vercel 64.0). Answers are read leniently: only what is used is named, the rest ignored, and a state that is new
to us counts as one on the way.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from opsagent_worker.errors import PermanentError, RetryableError, TaskError
from opsagent_worker.outbound import call, refusal

_WHAT: Final = "the Vercel API"
_PAGE: Final = 100

# Our clock, the task's producer's and Vercel's need not agree.
_CLOCK_SKEW: Final = timedelta(minutes=5)

_ENDED_BADLY: Final = frozenset({"ERROR", "CANCELED", "BLOCKED", "DELETED"})

M = TypeVar("M", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AliasError(_Answer):
    code: str = ""
    message: str = ""


class Deployment(_Answer):
    # A list of deployments names some fields otherwise than a single one does.
    id: str = Field(validation_alias=AliasChoices("id", "uid"))
    ready_state: str = Field(validation_alias=AliasChoices("readyState", "state"))
    """QUEUED, INITIALIZING, BUILDING, READY, ERROR, CANCELED, BLOCKED or DELETED, so far."""
    ready_substate: str | None = Field(default=None, alias="readySubstate")
    """Of a ready one: STAGED (has never had production traffic), ROLLING or PROMOTED."""
    created_at: int | None = Field(
        default=None, validation_alias=AliasChoices("createdAt", "created")
    )
    """Milliseconds since the epoch, as are all times here."""
    ready_at: int | None = Field(default=None, alias="ready")
    name: str | None = None
    """The project's."""
    target: str | None = None
    """None: a preview."""
    project_id: str | None = Field(default=None, alias="projectId")
    url: str | None = None
    inspector_url: str | None = Field(default=None, alias="inspectorUrl")
    error_code: str | None = Field(default=None, alias="errorCode")
    error_message: str | None = Field(default=None, alias="errorMessage")
    alias_assigned: bool | int | None = Field(default=None, alias="aliasAssigned")
    """Whether its domains lead to it; a list tells the moment since when."""
    alias_error: AliasError | None = Field(default=None, alias="aliasError")
    meta: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        return self.ready_state == "READY"

    @property
    def ended_badly(self) -> bool:
        return self.ready_state in _ENDED_BADLY

    @property
    def running(self) -> bool:
        return not self.ready and not self.ended_badly


class AliasRequest(_Answer):
    """The last time somebody asked for production traffic to go to another deployment."""

    type: Literal["promote", "rollback"]
    from_deployment_id: str | None = Field(default=None, alias="fromDeploymentId")
    to_deployment_id: str = Field(alias="toDeploymentId")
    job_status: str = Field(alias="jobStatus")
    """pending, in-progress, succeeded, failed or skipped, so far."""
    requested_at: float = Field(alias="requestedAt")


class ProductionTarget(_Answer):
    id: str
    created_at: int = Field(alias="createdAt")


class RollbackDescription(_Answer):
    """What the last rollback was asked for with."""

    description: str = ""
    created_at: float = Field(default=0, alias="createdAt")


class Project(_Answer):
    id: str
    name: str
    targets: dict[str, ProductionTarget | None] = {}
    last_alias_request: AliasRequest | None = Field(default=None, alias="lastAliasRequest")
    rollback_description: RollbackDescription | None = Field(
        default=None, alias="rollbackDescription"
    )

    @property
    def production(self) -> ProductionTarget | None:
        """The deployment that production traffic goes to."""
        return self.targets.get("production")


class _Pagination(_Answer):
    next: int | None = None


class _Page(_Answer):
    deployments: list[Deployment]
    pagination: _Pagination = _Pagination()


class _LogEvent(_Answer):
    """A line of a build's log; its text lies on one of two levels."""

    text: str | None = None
    payload: dict[str, Any] = {}

    @property
    def line(self) -> str:
        text = self.text or self.payload.get("text")
        return text.strip() if isinstance(text, str) else ""


class _Log(BaseModel):
    events: list[_LogEvent]


@dataclass(frozen=True, slots=True)
class VercelApi:
    """Every method raises a `TaskError` when it fails (see `outbound.call`), never with the token in the message."""

    client: httpx.AsyncClient
    base_url: str
    token: str
    team_id: str

    async def create_deployment(self, body: Mapping[str, Any]) -> Deployment:
        """POST /v13/deployments. Always a new one, even if Vercel knows a similar one."""
        response = await self._call(
            "POST",
            "/v13/deployments",
            about=f"project {body['name']!r}",
            json=body,
            params={"forceNew": "1"},
        )
        return _read(Deployment, response)

    async def get_deployment(self, id_or_host: str) -> Deployment:
        """GET /v13/deployments/{idOrUrl}."""
        path = f"/v13/deployments/{_segment(id_or_host)}"
        return _read(Deployment, await self._call("GET", path, about=f"deployment {id_or_host}"))

    async def cancel_deployment(self, deployment_id: str) -> Deployment:
        """PATCH /v12/deployments/{id}/cancel."""
        path = f"/v12/deployments/{_segment(deployment_id)}/cancel"
        about = f"deployment {deployment_id}"
        return _read(Deployment, await self._call("PATCH", path, about=about))

    async def deployments_since(
        self, project: str, moment: datetime | None
    ) -> AsyncIterator[Deployment]:
        """GET /v7/deployments, page after page: a project's, newest first, older than `moment` by a clock's error at most."""
        parameters: dict[str, str | int] = {}
        if moment is not None:
            parameters["since"] = _milliseconds(moment)
        while True:
            page = await self._page(project, limit=_PAGE, **parameters)
            for deployment in page.deployments:
                yield deployment
            older_than = page.pagination.next
            # Each page must end before the one before it did, or reading would never end.
            if older_than is None or older_than >= int(parameters.get("until", older_than + 1)):
                return
            parameters["until"] = older_than

    async def recent_deployments(
        self, *, since: datetime, project: str | None, limit: int
    ) -> list[Deployment]:
        """GET /v7/deployments: up to `limit` (≤ 100) of a project's, or of the whole team's, newest first."""
        parameters: dict[str, str | int] = {"limit": limit, "since": _milliseconds(since)}
        if project is not None:
            parameters["projectId"] = project
        about = "team" if project is None else f"project {project!r}"
        response = await self._call("GET", "/v7/deployments", about=about, params=parameters)
        return _read(_Page, response).deployments

    async def latest_ready(self, project: str, *, environment: str) -> Deployment | None:
        """GET /v7/deployments: the newest successful deployment of a project to `environment`; None if there is none."""
        page = await self._page(project, target=environment, state="READY", limit=1)
        return next(iter(page.deployments), None)

    async def rollback_candidates(self, project: str, *, older_than: int) -> list[Deployment]:
        """GET /v7/deployments: up to 20 that Vercel can roll production back to, newest first; created before `older_than`."""
        page = await self._page(
            project,
            target="production",
            state="READY",
            rollbackCandidate="true",
            until=older_than,
            limit=20,
        )
        return page.deployments

    async def last_log_lines(self, deployment_id: str, *, count: int) -> list[str]:
        """GET /v3/deployments/{idOrUrl}/events: the end of the build's log, oldest line first."""
        path = f"/v3/deployments/{_segment(deployment_id)}/events"
        response = await self._call(
            "GET",
            path,
            about=f"deployment {deployment_id}",
            params={"direction": "backward", "limit": count},
        )
        log = _read(_Log, response, wrap="events")
        return [event.line for event in reversed(log.events) if event.line][-count:]

    async def get_project(self, id_or_name: str) -> Project:
        """GET /v9/projects/{idOrName}, with what is known of promotions and rollbacks."""
        response = await self._call(
            "GET",
            f"/v9/projects/{_segment(id_or_name)}",
            about=f"project {id_or_name!r}",
            params={"rollbackInfo": "true"},
        )
        return _read(Project, response)

    async def promote(self, project: Project, deployment_id: str) -> None:
        """POST /v10/projects/{projectId}/promote/{deploymentId}: asks for production traffic to go there."""
        path = f"/v10/projects/{_segment(project.id)}/promote/{_segment(deployment_id)}"
        await self._call("POST", path, about=_of(project, deployment_id))

    async def rollback(self, project: Project, deployment_id: str, *, description: str) -> None:
        """POST /v1/projects/{projectId}/rollback/{deploymentId}: asks for production traffic to go back there."""
        path = f"/v1/projects/{_segment(project.id)}/rollback/{_segment(deployment_id)}"
        about = _of(project, deployment_id)
        await self._call("POST", path, about=about, params={"description": description})

    async def _page(self, project: str, **parameters: str | int) -> _Page:
        response = await self._call(
            "GET",
            "/v7/deployments",
            about=f"project {project!r}",
            params={"projectId": project, **parameters},
        )
        return _read(_Page, response)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        about: str,
        params: Mapping[str, str | int] | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """`about` is what a 404 means to be missing."""
        body = {} if json is None else {"json": json}
        return await call(
            self.client,
            method,
            self.base_url + path,
            what=_WHAT,
            refused=partial(_refusal, about=about),
            headers={"Authorization": f"Bearer {self.token}"},
            params={"teamId": self.team_id, **(params or {})},
            **body,
        )


def _refusal(response: httpx.Response, *, about: str) -> TaskError:
    """What an unsuccessful answer means, in the words of somebody who can do something about it."""
    error = refusal(response, what=_WHAT)
    match response.status_code:
        case 401 | 403:
            return PermanentError(
                f"{error}. Check that VERCEL_TOKEN is valid, has not expired, and may act for the team in VERCEL_TEAM_ID"
            )
        case 404:
            return PermanentError(
                f"{error}. There is no {about} in the team in VERCEL_TEAM_ID, or VERCEL_TOKEN may not see it"
            )
        case 409:
            # Somebody else is changing the same thing, such as a promotion under way.
            return RetryableError(str(error))
        case 429 if isinstance(error, RetryableError) and error.retry_after is None:
            return RetryableError(str(error), retry_after=_until_reset(response.headers))
        case _:
            return error


def _until_reset(headers: httpx.Headers) -> float | None:
    """Seconds until a rate limit ends: Vercel tells the second since the epoch in X-RateLimit-Reset."""
    text = headers.get("x-ratelimit-reset", "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return max(0.0, float(text) - time.time())


def _read(model: type[M], response: httpx.Response, *, wrap: str | None = None) -> M:
    """The answer as `model`; a bare array is read as its field `wrap`."""
    content = response.content
    if wrap is not None:
        content = b'{"%s": %s}' % (wrap.encode(), content)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors())
        raise RetryableError(f"{_WHAT} answered something unexpected (fields: {fields})") from None


def _milliseconds(moment: datetime) -> int:
    """For `since`: as early as the clocks may differ."""
    return int((moment - _CLOCK_SKEW).timestamp() * 1000)


def _of(project: Project, deployment_id: str) -> str:
    return f"deployment {deployment_id} of project {project.name!r}"


def _segment(text: str) -> str:
    return quote(text, safe="")
