"""The Vercel REST API as far as deploy tasks use it. It was never compared with the real one, which tests cannot reach.

Paths, parameters, required fields and states are those of the models in Vercel's npm package @vercel/sdk 1.28 (see
vercel_models.py); that package's own client was run against this double, and reads its answers. Each request is checked
against the models; one that does not fit is answered 400 and kept in `violations`.

Nothing here happens by itself: a deployment or a switch of production tells its next state each time it is looked at, and
stays in its last one until the test says otherwise.
"""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import ValidationError

from doubles.loopback import Gate, LoopbackServer, Request, Response
from doubles.vercel_answers import Deployment, as_target, described, listed
from doubles.vercel_models import (
    CancelDeploymentQuery,
    CreateDeployment,
    CreateDeploymentQuery,
    GetDeploymentEventsQuery,
    GetDeploymentQuery,
    GetDeploymentsQuery,
    GetProjectQuery,
    JobStatus,
    ReadyState,
    RequestPromoteQuery,
    RequestRollbackQuery,
)

BUILD_SUCCEEDS: Final[Sequence[ReadyState]] = ("QUEUED", "BUILDING", "READY")
BUILD_FAILS: Final[Sequence[ReadyState]] = ("QUEUED", "BUILDING", "ERROR")
BUILD_GOES_ON: Final[Sequence[ReadyState]] = ("QUEUED", "BUILDING")
"""Until the test calls `finish_builds`."""

SWITCH_SUCCEEDS: Final[Sequence[JobStatus]] = ("pending", "in-progress", "succeeded")
SWITCH_FAILS: Final[Sequence[JobStatus]] = ("pending", "failed")
SWITCH_GOES_ON: Final[Sequence[JobStatus]] = ("pending", "in-progress")
"""Until the test calls `finish_switch`."""

GIT_SOURCE: Final[Mapping[str, str]] = {
    "type": "github",
    "org": "example",
    "repo": "web",
    "ref": "main",
}
"""What there is to build."""

BUILD_LOG: Final = ("Running build in Washington, D.C.", "npm run build", "error: no such module")

_RUNNING: Final = frozenset({"QUEUED", "INITIALIZING", "BUILDING"})


@dataclass(slots=True)
class _Switch:
    """A promotion or a rollback."""

    type: Literal["promote", "rollback"]
    source: str | None
    target: str
    requested: int
    statuses: list[JobStatus]


@dataclass(slots=True)
class _Project:
    name: str
    production: str | None = None
    switch: _Switch | None = None
    description: str | None = None
    """Of the last rollback."""
    described: int = 0


@dataclass(slots=True)
class _World:
    deployments: dict[str, Deployment] = field(default_factory=dict)
    projects: dict[str, _Project] = field(default_factory=dict)

    def deployment(self, id_or_host: str) -> Deployment | None:
        return next(
            (found for found in self.deployments.values() if id_or_host in {found.id, found.host}),
            None,
        )

    def project(self, id_or_name: str) -> _Project | None:
        return self.projects.get(id_or_name.removeprefix("prj_"))


class VercelDouble(LoopbackServer):
    def __init__(self, *, token: str, team_id: str, projects: Sequence[str] = ("web",)) -> None:
        super().__init__(self._respond)
        self.violations: list[str] = []
        self.created: list[Mapping[str, Any]] = []
        """Body of each request that created a deployment."""
        self.cancelled: list[str] = []
        """Ids, one for each request that cancelled a deployment."""
        self.switches: list[tuple[str, str]] = []
        """Kind and target of each request that switched production."""
        self.states: Sequence[ReadyState] = BUILD_SUCCEEDS
        """What deployments created from now on will tell, one state for each look."""
        self.switch_statuses: Sequence[JobStatus] = SWITCH_SUCCEEDS
        """What promotions and rollbacks from now on will tell, one status for each look."""
        self.alias_error: str | None = None
        """Why the domains of deployments created from now on are not assigned."""
        self.replies_to_lose = 0
        """So many requests that change something take effect without their reply ever arriving."""
        self.gate_of: Callable[[Request], Gate | None] = lambda _request: None
        """Where a request waits before anything happens, if anywhere."""
        self.next_responses: list[Callable[[Request], Response]] = []
        """Asked instead of doing anything, once each, first one first."""
        self._token = token
        self._team_id = team_id
        self._world = _World(projects={name: _Project(name) for name in projects})
        self._ids = itertools.count(1)
        self._now = time.time_ns() // 1_000_000
        self._lock = threading.Lock()

    def count(self, method: str, path: str) -> int:
        """Requests so far whose path begins with `path`."""
        return sum(
            request.method == method and request.path.startswith(path)
            for request in list(self.requests)
        )

    def add_deployment(
        self,
        *,
        project: str = "web",
        target: str | None = None,
        state: ReadyState = "READY",
        meta: Mapping[str, str] | None = None,
    ) -> str:
        """A deployment that existed before; returns its id. One for production that is ready has its traffic."""
        made = self._new(project=project, target=target, meta=meta or {}, states=[state])
        if target == "production" and state == "READY":
            self._world.projects[project].production = made.id
        return made.id

    def finish_builds(self, state: ReadyState = "READY") -> None:
        """Ends every build that goes on."""
        with self._lock:
            for deployment in self._world.deployments.values():
                if deployment.state in _RUNNING:
                    deployment.states = [state]

    def add_project(self, name: str) -> None:
        self._world.projects[name] = _Project(name)

    def switch_by_hand(
        self, kind: Literal["promote", "rollback"], target: str, *, project: str = "web"
    ) -> None:
        """Somebody asks for this in Vercel's dashboard, whatever goes on; it goes on itself from then on."""
        with self._lock:
            known = self._world.projects[project]
            known.switch = _Switch(kind, known.production, target, self._tick(), ["in-progress"])

    def finish_switch(self, project: str = "web", status: JobStatus = "succeeded") -> None:
        with self._lock:
            switch = self._world.projects[project].switch
            assert switch is not None
            switch.statuses = [status]

    def production(self, project: str = "web") -> str | None:
        """The deployment that has the traffic."""
        return self._world.projects[project].production

    def state(self, deployment_id: str) -> ReadyState:
        return self._world.deployments[deployment_id].state

    def _respond(self, request: Request) -> Response | None:
        if (gate := self.gate_of(request)) is not None:
            gate.pass_through()
        with self._lock:
            if self.next_responses:
                return self.next_responses.pop(0)(request)
            response = self._answer(request)
            if self.replies_to_lose and request.method != "GET" and response.status < 300:
                self.replies_to_lose -= 1
                return None
            return response

    def _answer(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return _error(403, "forbidden", "Not authorized")
        if request.query.get("teamId") != self._team_id:
            self.violations.append(f"{request.method} {request.path}: not the team's id")
            return _error(403, "forbidden", "You don't have access to this team")
        if request.body and request.path != "/v13/deployments":
            self.violations.append(f"{request.method} {request.path}: takes no body")
        try:
            answer = self._operation(request)
        except ValidationError as error:
            self.violations.append(f"{request.method} {request.path}: {error}")
            return _error(400, "bad_request", "Invalid request")
        if answer is None:
            self.violations.append(f"no such operation: {request.method} {request.path}")
            return _error(404, "not_found", "The requested path could not be found")
        return answer

    def _operation(self, request: Request) -> Response | None:
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v13", "deployments"]:
                return self._create(request)
            case "GET", ["v13", "deployments", named]:
                GetDeploymentQuery.model_validate(request.query)
                return self._get(named)
            case "GET", ["v7", "deployments"]:
                return self._list(GetDeploymentsQuery.model_validate(request.query))
            case "PATCH", ["v12", "deployments", named, "cancel"]:
                CancelDeploymentQuery.model_validate(request.query)
                return self._cancel(named)
            case "GET", ["v3", "deployments", named, "events"]:
                return self._events(named, GetDeploymentEventsQuery.model_validate(request.query))
            case "GET", ["v9", "projects", named]:
                GetProjectQuery.model_validate(request.query)
                return self._get_project(named)
            case "POST", ["v10", "projects", project, "promote", target]:
                RequestPromoteQuery.model_validate(request.query)
                return self._switch("promote", project, target, description=None)
            case "POST", ["v1", "projects", project, "rollback", target]:
                query = RequestRollbackQuery.model_validate(request.query)
                return self._switch("rollback", project, target, description=query.description)
        return None

    def _create(self, request: Request) -> Response:
        CreateDeploymentQuery.model_validate(request.query)
        if not request.headers.get("content-type", "").startswith("application/json"):
            self.violations.append("POST /v13/deployments: not JSON")
        body = CreateDeployment.model_validate_json(request.body)
        if body.gitSource is None and body.deploymentId is None:
            return _error(400, "missing_files", "The request has neither files nor a source")
        if body.deploymentId is not None and body.deploymentId not in self._world.deployments:
            return _error(404, "not_found", "Deployment not found")
        project = self._world.project(body.project or body.name)
        if project is None:
            return _error(404, "not_found", "Project not found")
        self.created.append(request.json())
        made = self._new(
            project=project.name,
            target=body.target,
            meta=body.meta or {},
            states=list(self.states),
        )
        made.alias_error = self.alias_error
        return Response(200, described(made))

    def _get(self, named: str) -> Response:
        found = self._world.deployment(named)
        if found is None:
            return _error(404, "not_found", "The deployment could not be found")
        if len(found.states) > 1:
            del found.states[0]
        return Response(200, described(found))

    def _list(self, query: GetDeploymentsQuery) -> Response:
        project = self._world.project(query.projectId) if query.projectId else None
        if query.projectId and project is None:
            return _error(404, "not_found", "Project not found")
        serving = {known.production for known in self._world.projects.values()}
        found = [
            deployment
            for deployment in self._world.deployments.values()
            if (project is None or deployment.project == project.name)
            and (query.since is None or deployment.created > query.since)
            and (query.until is None or deployment.created < query.until)
            and (query.state is None or deployment.state in query.state.split(","))
            and (query.target is None or (deployment.target or "preview") == query.target)
            and (query.rollbackCandidate != "true" or deployment.id not in serving)
        ]
        newest = sorted(found, key=lambda deployment: deployment.created, reverse=True)
        page = newest[: query.limit]
        more = len(newest) > len(page)
        pagination = {
            "count": len(page),
            "next": page[-1].created if more else None,
            "prev": page[0].created if page else None,
        }
        return Response(
            200, {"deployments": [listed(each) for each in page], "pagination": pagination}
        )

    def _cancel(self, named: str) -> Response:
        found = self._world.deployments.get(named)
        if found is None:
            return _error(404, "not_found", "The deployment could not be found")
        if found.state not in _RUNNING:
            return _error(400, "bad_request", "The deployment is not building")
        found.states = ["CANCELED"]
        self.cancelled.append(found.id)
        return Response(200, described(found))

    def _events(self, named: str, query: GetDeploymentEventsQuery) -> Response:
        found = self._world.deployment(named)
        if found is None:
            return _error(404, "not_found", "The deployment could not be found")
        log = [
            {
                "created": found.created + number,
                "date": found.created + number,
                "deploymentId": found.id,
                "id": f"event_{number}",
                "info": {"type": "build", "name": "bld_1"},
                "serial": str(number),
                "text": text,
                "type": "stdout",
            }
            for number, text in enumerate(BUILD_LOG)
        ]
        if query.direction == "backward":
            log.reverse()
        return Response(200, log if query.limit in {None, -1} else log[: query.limit])

    def _get_project(self, named: str) -> Response:
        project = self._world.project(named)
        if project is None:
            return _error(404, "not_found", "Project not found")
        switch = project.switch
        if switch is not None:
            if len(switch.statuses) > 1:
                del switch.statuses[0]
            if switch.statuses[0] == "succeeded":
                project.production = switch.target
        return Response(200, self._described_project(project))

    def _switch(
        self,
        kind: Literal["promote", "rollback"],
        project_id: str,
        target: str,
        *,
        description: str | None,
    ) -> Response:
        project = self._world.project(project_id)
        if project is None or target not in self._world.deployments:
            return _error(404, "not_found", "Not found")
        if project.switch is not None and project.switch.statuses[0] in SWITCH_GOES_ON:
            return _error(409, "conflict", "Another request is in progress")
        self.switches.append((kind, target))
        now = self._tick()
        # One status more: the first look moves on to what the test wants told first.
        statuses = [self.switch_statuses[0], *self.switch_statuses]
        project.switch = _Switch(kind, project.production, target, now, statuses)
        if kind == "rollback":
            project.description, project.described = description or "", now
        return Response(201, "")

    def _described_project(self, project: _Project) -> dict[str, Any]:
        """What UpdateProjectResponseBody requires, and what is known of traffic."""
        serving = self._world.deployments.get(project.production or "")
        fields: dict[str, Any] = {
            "accountId": self._team_id,
            "deploymentExpiration": {},
            "directoryListing": False,
            "id": f"prj_{project.name}",
            "name": project.name,
            "nodeVersion": "24.x",
            "resourceConfig": {"functionDefaultRegions": ["iad1"]},
            "defaultResourceConfig": {"functionDefaultRegions": ["iad1"]},
            "targets": {} if serving is None else {"production": as_target(serving)},
        }
        if project.switch is not None:
            fields["lastAliasRequest"] = {
                "type": project.switch.type,
                "fromDeploymentId": project.switch.source,
                "toDeploymentId": project.switch.target,
                "jobStatus": project.switch.statuses[0],
                "requestedAt": project.switch.requested,
            }
        if project.description is not None:
            fields["rollbackDescription"] = {
                "userId": "user_1",
                "username": "somebody",
                "description": project.description,
                "createdAt": project.described,
            }
        return fields

    def _new(
        self, *, project: str, target: str | None, meta: Mapping[str, str], states: list[ReadyState]
    ) -> Deployment:
        made = Deployment(
            id=f"dpl_{next(self._ids)}",
            project=project,
            target=target,
            meta=meta,
            created=self._tick(),
            states=states,
        )
        self._world.deployments[made.id] = made
        return made

    def _tick(self) -> int:
        """Now, in ms since the epoch; no two of these are the same."""
        self._now = max(self._now + 1, time.time_ns() // 1_000_000)
        return self._now


def _error(status: int, code: str, message: str) -> Response:
    return Response(status, {"error": {"code": code, "message": message}})
