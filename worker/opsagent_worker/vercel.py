"""The part of the Vercel REST API that deploy tasks need.

Paths, parameters and fields follow Vercel's own client, the npm package @vercel/sdk 1.28. Answers are read leniently: only
what is used is named, the rest ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from opsagent_worker.errors import RetryableError
from opsagent_worker.outbound import call

_WHAT: Final = "the Vercel API"
_PAGE: Final = 100

# Our clock, the task's producer's and Vercel's need not agree.
_CLOCK_SKEW: Final = timedelta(minutes=5)

ReadyState = Literal[
    "QUEUED", "INITIALIZING", "BUILDING", "READY", "ERROR", "CANCELED", "BLOCKED", "DELETED"
]


M = TypeVar("M", bound=BaseModel)


class Deployment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    # A list of deployments calls it `uid`.
    id: str = Field(validation_alias=AliasChoices("id", "uid"))
    ready_state: ReadyState = Field(alias="readyState")
    url: str | None = None
    inspector_url: str | None = Field(default=None, alias="inspectorUrl")
    error_code: str | None = Field(default=None, alias="errorCode")
    error_message: str | None = Field(default=None, alias="errorMessage")
    meta: dict[str, str] = {}


class _Page(BaseModel):
    deployments: list[Deployment]


@dataclass(frozen=True, slots=True)
class VercelApi:
    """Every method raises `RetryableError` or `PermanentError`, never with the token in the message."""

    client: httpx.AsyncClient
    base_url: str
    token: str
    team_id: str

    async def create_deployment(self, body: Mapping[str, Any]) -> Deployment:
        """POST /v13/deployments."""
        return _read(Deployment, await self._call("POST", "/v13/deployments", json=body))

    async def get_deployment(self, deployment_id: str) -> Deployment:
        """GET /v13/deployments/{id}."""
        path = f"/v13/deployments/{quote(deployment_id, safe='')}"
        return _read(Deployment, await self._call("GET", path))

    async def deployments_since(self, project: str, moment: datetime | None) -> list[Deployment]:
        """GET /v7/deployments: the newest 100 of a project, older than `moment` by a clock's error at most."""
        since = {}
        if moment is not None:
            since["since"] = int((moment - _CLOCK_SKEW).timestamp() * 1000)
        return await self._list(projectId=project, limit=_PAGE, **since)

    async def latest_ready(self, project: str, *, environment: str) -> Deployment | None:
        """GET /v7/deployments: the newest successful deployment of a project to `environment`; None if there is none."""
        ready = await self._list(projectId=project, target=environment, state="READY", limit=1)
        return ready[0] if ready else None

    async def _list(self, **parameters: str | int) -> list[Deployment]:
        return _read(
            _Page, await self._call("GET", "/v7/deployments", params=parameters)
        ).deployments

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await call(
            self.client,
            method,
            self.base_url + path,
            what=_WHAT,
            headers={"Authorization": f"Bearer {self.token}"},
            params={"teamId": self.team_id, **options.pop("params", {})},
            **options,
        )


def _read(model: type[M], response: httpx.Response) -> M:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors())
        raise RetryableError(f"{_WHAT} answered something unexpected (fields: {fields})") from None
