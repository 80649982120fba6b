"""What the Vercel API takes: the request models of Vercel's npm package @vercel/sdk 1.28, as far as deploy tasks use it.

Each class names the model it was read from. Extra fields are refused, which the real API may or may not do: a request that
fits here says nothing the model does not know. One operation is not in the package, the reading of a project; its path is
that of Vercel's REST reference ("Find a project by id or name") and its `rollbackInfo` that of the npm package vercel 64.0,
which is Vercel's command line.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ReadyState = Literal[
    "QUEUED", "INITIALIZING", "BUILDING", "READY", "ERROR", "CANCELED", "BLOCKED", "DELETED"
]
"""GetDeploymentsReadyState."""

JobStatus = Literal["pending", "in-progress", "succeeded", "failed", "skipped"]
"""UpdateProjectJobStatus."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Query(BaseModel):
    """Query strings are text, so numbers are parsed here."""

    model_config = ConfigDict(extra="forbid")

    # Optional in the package; a worker that leaves it out would act for the token's owner instead.
    teamId: str  # noqa: N815 - the wire's name


class GitHub(_Body):
    """GitSource2, GitSource4."""

    type: Literal["github", "github-limited"]
    ref: str
    sha: str | None = None
    repoId: int | str  # noqa: N815 - the wire's name


class GitHubByName(_Body):
    """GitSource3, GitSource5."""

    type: Literal["github", "github-limited"]
    ref: str
    sha: str | None = None
    org: str
    repo: str


class GitLab(_Body):
    """GitSource6."""

    type: Literal["gitlab"]
    ref: str
    sha: str | None = None
    projectId: int | str  # noqa: N815 - the wire's name


class BitbucketByUuid(_Body):
    """GitSource7."""

    type: Literal["bitbucket"]
    ref: str
    sha: str | None = None
    repoUuid: str  # noqa: N815 - the wire's name
    workspaceUuid: str | None = None  # noqa: N815 - the wire's name


class Bitbucket(_Body):
    """GitSource8."""

    type: Literal["bitbucket"]
    ref: str
    sha: str | None = None
    owner: str
    slug: str


class VercelGit(_Body):
    """GitSource1."""

    type: Literal["vercel"]
    sha: str


GitSource = GitHub | GitHubByName | GitLab | Bitbucket | BitbucketByUuid | VercelGit


class CreateDeployment(_Body):
    """CreateDeploymentRequestBody, without the parts we have no use for."""

    name: str
    project: str | None = None
    target: str | None = None
    gitSource: GitSource | None = None  # noqa: N815 - the wire's name
    deploymentId: str | None = None  # noqa: N815 - the wire's name
    withLatestCommit: bool | None = None  # noqa: N815 - the wire's name
    meta: dict[str, str] | None = None


class CreateDeploymentQuery(_Query):
    """CreateDeploymentRequest."""

    forceNew: Literal["0", "1"] | None = None  # noqa: N815 - the wire's name
    skipAutoDetectionConfirmation: Literal["0", "1"] | None = None  # noqa: N815 - the wire's name


class GetDeploymentQuery(_Query):
    """GetDeploymentRequest."""

    withGitRepoInfo: str | None = None  # noqa: N815 - the wire's name


class CancelDeploymentQuery(_Query):
    """CancelDeploymentRequest."""


class GetDeploymentsQuery(_Query):
    """GetDeploymentsRequest, without the parts we have no use for."""

    projectId: str | None = None  # noqa: N815 - the wire's name
    app: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    since: int | None = None
    until: int | None = None
    target: str | None = None
    state: str | None = None
    rollbackCandidate: Literal["true", "false"] | None = None  # noqa: N815 - the wire's name


class GetDeploymentEventsQuery(_Query):
    """GetDeploymentEventsRequest, without the parts we have no use for."""

    direction: Literal["backward", "forward"] | None = None
    limit: Annotated[int, Field(ge=-1)] | None = None


class RequestPromoteQuery(_Query):
    """RequestPromoteRequest."""


class RequestRollbackQuery(_Query):
    """RequestRollbackRequest; the length is that of UpdateProjectRollbackDescription."""

    description: Annotated[str, Field(max_length=250)] | None = None


class GetProjectQuery(_Query):
    """See the module's text."""

    rollbackInfo: Literal["true"] | None = None  # noqa: N815 - the wire's name
