"""The Vercel REST API as far as deploy tasks use it. It was never compared with the real one, which tests cannot reach.

Paths, parameters, required fields and states are those of the models in Vercel's npm package @vercel/sdk 1.28. Each request
is checked against them; one that does not fit is answered 400 and kept in `violations`.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from doubles.loopback import LoopbackServer, Request, Response


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _GitHub(_Strict):
    """By repository id, or by organisation and name."""

    type: Literal["github", "github-limited"]
    ref: str
    sha: str | None = None
    repoId: int | str  # noqa: N815 - the wire's name


class _GitHubByName(_Strict):
    type: Literal["github", "github-limited"]
    ref: str
    sha: str | None = None
    org: str
    repo: str


class _GitLab(_Strict):
    type: Literal["gitlab"]
    ref: str
    sha: str | None = None
    projectId: int | str  # noqa: N815 - the wire's name


class _Bitbucket(_Strict):
    type: Literal["bitbucket"]
    ref: str
    sha: str | None = None
    owner: str
    slug: str


class _BitbucketByUuid(_Strict):
    type: Literal["bitbucket"]
    ref: str
    sha: str | None = None
    repoUuid: str  # noqa: N815 - the wire's name
    workspaceUuid: str | None = None  # noqa: N815 - the wire's name


class _VercelGit(_Strict):
    type: Literal["vercel"]
    sha: str


_GitSource = _GitHub | _GitHubByName | _GitLab | _Bitbucket | _BitbucketByUuid | _VercelGit


class _CreateDeployment(_Strict):
    """CreateDeploymentRequestBody, without the parts we have no use for."""

    name: str
    project: str | None = None
    target: str | None = None
    gitSource: _GitSource | None = None  # noqa: N815 - the wire's name
    deploymentId: str | None = None  # noqa: N815 - the wire's name
    withLatestCommit: bool | None = None  # noqa: N815 - the wire's name
    meta: dict[str, str] | None = None


class _CreateQuery(_Strict):
    teamId: str  # noqa: N815 - the wire's name
    forceNew: Literal["0", "1"] | None = None  # noqa: N815 - the wire's name
    skipAutoDetectionConfirmation: Literal["0", "1"] | None = None  # noqa: N815 - the wire's name


class _GetQuery(_Strict):
    teamId: str  # noqa: N815 - the wire's name


class _ListQuery(BaseModel):
    """Query strings are text, so numbers are parsed here."""

    model_config = ConfigDict(extra="forbid")

    teamId: str  # noqa: N815 - the wire's name
    projectId: str | None = None  # noqa: N815 - the wire's name
    app: str | None = None
    limit: Annotated[int, Field(ge=1)] = 20
    since: int | None = None
    until: int | None = None
    target: str | None = None
    state: str | None = None


class _Deployment(_Strict):
    id: str
    name: str
    target: str | None
    meta: dict[str, str]
    created: int
    """ms since the epoch."""
    states: list[str]
    """What is still to be told, the last one for ever."""
    error: str | None = None

    @property
    def state(self) -> str:
        return self.states[0]

    def advance(self) -> None:
        if len(self.states) > 1:
            del self.states[0]


BUILD_SUCCEEDS: Final = ("QUEUED", "BUILDING", "READY")
BUILD_FAILS: Final = ("QUEUED", "BUILDING", "ERROR")


class VercelDouble:
    def __init__(self, *, token: str, team_id: str) -> None:
        self.violations: list[str] = []
        self.created: list[Mapping[str, Any]] = []
        """Body of each request that created a deployment."""
        self.states: Sequence[str] = BUILD_SUCCEEDS
        """What deployments created from now on will tell, one state for each look."""
        self.replies_to_lose = 0
        """So many creations take effect without their reply ever arriving."""
        self.next_responses: list[Callable[[Request], Response]] = []
        """Asked instead of doing anything, once each, first one first."""
        self._token = token
        self._team_id = team_id
        self._deployments: dict[str, _Deployment] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._server = LoopbackServer(self._respond)
        self.url = self._server.url

    @property
    def requests(self) -> Sequence[Request]:
        return self._server.requests

    def add_deployment(self, *, project: str, target: str | None, state: str = "READY") -> str:
        """A deployment that existed before; returns its id."""
        return self._new(project=project, target=target, meta={}, states=[state]).id

    def finish_builds(self) -> None:
        """From now on every deployment is in its last state."""
        with self._lock:
            for deployment in self._deployments.values():
                del deployment.states[:-1]

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    def _respond(self, request: Request) -> Response | None:
        with self._lock:
            if self.next_responses:
                return self.next_responses.pop(0)(request)
            created_before = len(self.created)
            response = self._answer(request)
            if self.replies_to_lose and len(self.created) > created_before:
                self.replies_to_lose -= 1
                return None
            return response

    def _answer(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return _error(403, "forbidden", "Not authorized")
        if request.query.get("teamId") != self._team_id:
            self.violations.append(f"{request.method} {request.path}: not the team's id")
            return _error(403, "forbidden", "You don't have access to this team")
        try:
            match request.method, request.path.strip("/").split("/"):
                case "POST", ["v13", "deployments"]:
                    return self._create(request)
                case "GET", ["v13", "deployments", deployment_id]:
                    _GetQuery.model_validate(request.query)
                    return self._get(deployment_id)
                case "GET", ["v7", "deployments"]:
                    return self._list(_ListQuery.model_validate(request.query))
        except ValidationError as error:
            self.violations.append(f"{request.method} {request.path}: {error}")
            return _error(400, "bad_request", "Invalid request")
        self.violations.append(f"no such operation: {request.method} {request.path}")
        return _error(404, "not_found", "The requested path could not be found")

    def _create(self, request: Request) -> Response:
        _CreateQuery.model_validate(request.query)
        if not request.headers.get("content-type", "").startswith("application/json"):
            self.violations.append("POST /v13/deployments: not JSON")
        body = TypeAdapter(_CreateDeployment).validate_json(request.body)
        if body.gitSource is None and body.deploymentId is None:
            return _error(400, "missing_files", "The request has neither files nor a source")
        if body.deploymentId is not None and body.deploymentId not in self._deployments:
            return _error(404, "not_found", "Deployment not found")
        self.created.append(request.json())
        deployment = self._new(
            project=body.project or body.name,
            target=body.target,
            meta=body.meta or {},
            states=list(self.states),
        )
        return Response(200, _described(deployment))

    def _get(self, deployment_id: str) -> Response:
        deployment = self._deployments.get(deployment_id)
        if deployment is None:
            return _error(404, "not_found", "The deployment could not be found")
        deployment.advance()
        return Response(200, _described(deployment))

    def _list(self, query: _ListQuery) -> Response:
        found = [
            deployment
            for deployment in self._deployments.values()
            if deployment.name == (query.projectId or query.app or deployment.name)
            and (query.since is None or deployment.created > query.since)
            and (query.state is None or deployment.state in query.state.split(","))
            and (query.target is None or (deployment.target or "preview") == query.target)
        ]
        newest = sorted(found, key=lambda deployment: deployment.created, reverse=True)
        page = [_listed(deployment) for deployment in newest[: query.limit]]
        pagination = {"count": len(page), "next": None, "prev": None}
        return Response(200, {"deployments": page, "pagination": pagination})

    def _new(
        self, *, project: str, target: str | None, meta: dict[str, str], states: list[str]
    ) -> _Deployment:
        deployment = _Deployment(
            id=f"dpl_{next(self._ids)}",
            name=project,
            target=target,
            meta=meta,
            created=time.time_ns() // 1_000_000,
            states=states,
            error='Command "npm run build" exited with 1' if "ERROR" in states else None,
        )
        self._deployments[deployment.id] = deployment
        return deployment


def _described(deployment: _Deployment) -> dict[str, Any]:
    """The fields GetDeploymentResponseBody1 requires, and the optional ones a caller would look for."""
    described = {
        "id": deployment.id,
        "aliasAssigned": deployment.state == "READY",
        "readyState": deployment.state,
        "target": deployment.target,
        "name": deployment.name,
        "meta": deployment.meta,
        "url": f"{deployment.name}-{deployment.id.replace('_', '-')}.vercel.app",
        "inspectorUrl": f"https://vercel.com/team/{deployment.name}/{deployment.id}",
    }
    if deployment.state == "ERROR":
        described |= {"errorCode": "BUILD_FAILED", "errorMessage": deployment.error}
    return described


def _listed(deployment: _Deployment) -> dict[str, Any]:
    """The fields the elements of GetDeploymentsResponseBody require; the id is called `uid` there."""
    described = _described(deployment)
    return {
        "uid": deployment.id,
        "created": deployment.created,
        "createdAt": deployment.created,
        "creator": {"uid": "user_1"},
        "projectId": f"prj_{deployment.name}",
        "type": "LAMBDAS",
        **{
            name: described[name]
            for name in ("name", "url", "inspectorUrl", "readyState", "target", "meta")
        },
    }


def _error(status: int, code: str, message: str) -> Response:
    return Response(status, {"error": {"code": code, "message": message}})
