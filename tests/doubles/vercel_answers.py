"""What the Vercel API answers: deployments as the models of Vercel's npm package @vercel/sdk 1.28 describe them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doubles.vercel_models import ReadyState


@dataclass(slots=True)
class Deployment:
    id: str
    project: str
    target: str | None
    meta: Mapping[str, str]
    created: int
    """ms since the epoch."""
    states: list[ReadyState]
    """What is still to be told, the last one for ever."""
    alias_error: str | None = None

    @property
    def state(self) -> ReadyState:
        return self.states[0]

    @property
    def host(self) -> str:
        return f"{self.project}-{self.id.replace('_', '-')}.vercel.app"


def described(deployment: Deployment) -> dict[str, Any]:
    """What GetDeploymentResponseBody1 requires, and the optional fields a caller would look for."""
    ready = deployment.state == "READY"
    fields: dict[str, Any] = {
        "aliasAssigned": ready and deployment.alias_error is None,
        "bootedAt": deployment.created,
        "build": {"env": []},
        "buildSkipped": False,
        "buildingAt": deployment.created,
        "createdAt": deployment.created,
        "createdIn": "sfo1",
        "creator": {"uid": "user_1"},
        "env": [],
        "id": deployment.id,
        "inspectorUrl": f"https://vercel.com/team/{deployment.project}/{deployment.id}",
        "isInConcurrentBuildsQueue": False,
        "isInSystemBuildsQueue": False,
        "meta": dict(deployment.meta),
        "name": deployment.project,
        "ownerId": "team_1",
        "plan": "pro",
        "projectId": f"prj_{deployment.project}",
        "projectSettings": {},
        "public": False,
        "readyState": deployment.state,
        "regions": ["iad1"],
        "routes": None,
        "status": deployment.state,
        "target": deployment.target,
        "type": "LAMBDAS",
        "url": deployment.host,
        "version": 2,
    }
    if ready:
        fields |= {"ready": deployment.created + 42_000, "readySubstate": "PROMOTED"}
        if deployment.alias_error is not None:
            fields["aliasError"] = {"code": "alias", "message": deployment.alias_error}
    if deployment.state == "ERROR":
        fields["errorCode"] = "BUILD_FAILED"
        fields["errorMessage"] = 'Command "npm run build" exited with 1'
    return fields


def listed(deployment: Deployment) -> dict[str, Any]:
    """The fields the elements of GetDeploymentsResponseBody require; the id is called `uid` there."""
    fields = described(deployment)
    names = ("name", "url", "inspectorUrl", "readyState", "target", "meta", "projectId", "type")
    return {
        "uid": deployment.id,
        "created": deployment.created,
        "createdAt": deployment.created,
        "creator": {"uid": "user_1"},
        **{name: fields[name] for name in names},
    }


def as_target(deployment: Deployment) -> dict[str, Any]:
    """UpdateProjectTargets."""
    fields = described(deployment)
    names = ("createdAt", "createdIn", "creator", "id", "meta", "name", "plan", "readyState")
    return {
        **{name: fields[name] for name in (*names, "target", "type", "url")},
        "creator": {"uid": "user_1", "email": "somebody@example.com", "username": "somebody"},
        "deploymentHostname": deployment.project,
        "private": False,
        "userId": "user_1",
    }
