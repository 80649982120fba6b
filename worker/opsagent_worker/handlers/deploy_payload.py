"""What a `deploy` task asks for."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from opsagent_worker.handlers.payload import Payload

Action = Literal["create", "promote", "rollback"]
Environment = Literal["production", "staging", "preview"]

# What Vercel wants to know of a source beside its type: one of these sets (CreateDeploymentRequestBody of @vercel/sdk 1.28).
_GITHUB: Final = (("ref", "repoId"), ("ref", "org", "repo"))
_WANTED: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "github": _GITHUB,
    "github-limited": _GITHUB,
    "gitlab": (("ref", "projectId"),),
    "bitbucket": (("ref", "owner", "slug"), ("ref", "repoUuid")),
    "vercel": (("sha",),),
}


class GitSource(BaseModel):
    """Where the code is: a branch, tag or commit of a repository that Vercel may read."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", str_strip_whitespace=True, hide_input_in_errors=True
    )

    type: Literal["github", "github-limited", "gitlab", "bitbucket", "vercel"]
    ref: str | None = None
    """Branch or tag."""
    sha: str | None = None
    """Commit; the newest of `ref` if left out."""
    org: str | None = None
    repo: str | None = None
    repo_id: int | str | None = Field(default=None, alias="repoId")
    project_id: int | str | None = Field(default=None, alias="projectId")
    owner: str | None = None
    slug: str | None = None
    repo_uuid: str | None = Field(default=None, alias="repoUuid")
    workspace_uuid: str | None = Field(default=None, alias="workspaceUuid")

    def wire(self) -> dict[str, Any]:
        """As Vercel takes it."""
        return self.model_dump(by_alias=True, exclude_none=True)

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        given = self.wire().keys()
        wanted = _WANTED[self.type]
        if not any(given >= set(names) for names in wanted):
            ways = ", or ".join(" and ".join(names) for names in wanted)
            raise ValueError(f"a source of type {self.type} needs {ways}")
        return self


def _host(value: Any) -> Any:
    """The host of a deployment's URL, which the API takes in place of its id."""
    if not isinstance(value, str):
        return value
    return value.strip().removeprefix("https://").rstrip("/")


def _not_dots(value: str) -> str:
    # As a segment of a path these mean another path, and clients resolve them before sending.
    if set(value) == {"."}:
        raise ValueError("must not consist of dots alone")
    return value


class DeployPayload(Payload):
    action: Action = "create"
    project: Annotated[str, AfterValidator(_not_dots)] = Field(
        validation_alias=AliasChoices("project", "service"),
        # Vercel's rule for names of projects, and what keeps the name one segment of a path.
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
    )
    """Name or id."""
    environment: Environment = "preview"
    """Left out: preview for a creation, production for anything else."""
    git_source: GitSource | None = Field(default=None, alias="gitSource")
    """What to build. Neither this nor `deployment`: the newest commit of what is deployed there."""
    deployment: Annotated[str, BeforeValidator(_host), AfterValidator(_not_dots)] | None = Field(
        default=None,
        validation_alias=AliasChoices("deployment", "deploymentId", "deployment_id"),
        pattern=r"^[A-Za-z0-9._-]{1,255}$",
    )
    """Id or URL of the deployment to build again, to promote, or to roll back to."""
    reason: str | None = Field(default=None, max_length=1000)
    """Why production is rolled back; Vercel shows the beginning of it."""

    def about(self) -> dict[str, Any]:
        """What every event and result of the task begins with."""
        return {"action": self.action, "project": self.project, "environment": self.environment}

    @model_validator(mode="before")
    @classmethod
    def _only_production_is_switched(cls, payload: Any) -> Any:
        if isinstance(payload, Mapping) and payload.get("action") in {"promote", "rollback"}:
            return {"environment": "production", **payload}
        return payload

    @model_validator(mode="after")
    def _fits_the_action(self) -> Self:
        match self.action:
            case "create":
                if self.git_source is not None and self.deployment is not None:
                    raise ValueError(
                        "gitSource and deployment exclude each other: build a source, or a deployment again"
                    )
            case "promote" | "rollback":
                if self.environment != "production":
                    raise ValueError(f"only production can be the environment of a {self.action}")
                if self.git_source is not None:
                    raise ValueError(f"a {self.action} builds nothing: leave gitSource out")
                if self.action == "promote" and self.deployment is None:
                    raise ValueError("to promote, name the deployment: its id (dpl_…) or its URL")
        return self
