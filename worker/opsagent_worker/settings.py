"""The worker's settings: environment variables, checked all at once before anything starts.

pydantic alone reads them (`model_validate` of the environment): every value is a plain string with one spelling, so the
extra sources and JSON decoding of pydantic-settings would only add ways for a variable to mean something else.
"""

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from opsagent_queue import ConfigurationError, TaskType, connect, passwords
from opsagent_worker.checks.target import read_target
from opsagent_worker.durations import parse_duration
from opsagent_worker.redaction import Redactor

_NAME: Final = "[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_AGENTS: Final = "OPSAGENT_AGENTS"
_BUILTINS: Final = "WORKER_BUILTINS"
_HANDLERS: Final = "WORKER_HANDLERS"
_ROUTING_KEY_LENGTH: Final = 32
_HTTP_URL_HINT: Final = "must start with http:// or https:// and name a host"

# A shorter path of a URL, such as the /1 of a Sentry DSN, is no secret.
_SHORTEST_SECRET_PATH: Final = 12

BUILTINS: Final = (TaskType.DEPLOY, TaskType.MONITOR, TaskType.ALERT, TaskType.INVESTIGATE)
"""Types of tasks that a handler comes with the worker for."""


class SettingsError(Exception):
    """The environment does not describe a worker that could run; `problems` has one line for each variable at fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} setting{'s need' if len(problems) > 1 else ' needs'} attention"
        super().__init__(f"opsagent-worker cannot start: {count}\n  - " + "\n  - ".join(problems))


def _http_url(url: str) -> str:
    # httpx would accept more (no scheme, other schemes) and fail only when the first task comes.
    scheme, separator, rest = url.partition("://")
    if scheme not in {"http", "https"} or not separator or not rest.strip("/"):
        raise ValueError(_HTTP_URL_HINT)
    return url.rstrip("/")


def _secret_http_url(url: SecretStr) -> SecretStr:
    return SecretStr(_http_url(url.get_secret_value()))


def _target_url(url: str) -> str:
    return read_target(url, with_credentials=True).url


def _routing_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) != _ROUTING_KEY_LENGTH:
        raise ValueError(f"must have {_ROUTING_KEY_LENGTH} characters")
    return key


def _comma_separated(value: Any) -> Any:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def _pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs = {}
    for part in _comma_separated(value):
        name, separator, url = part.partition("=")
        if not separator or not name.strip():
            raise ValueError(f"{part!r} is not written name=URL")
        pairs[name.strip()] = url.strip()
    return pairs


def _builtins(value: Any) -> Any:
    names = _comma_separated(value)
    if names == ["none"]:
        return []
    if unknown := [name for name in names if name not in BUILTINS]:
        raise ValueError(f"{', '.join(unknown)}: choose from {', '.join(BUILTINS)}, or none")
    return names


def _between(low: str, high: str) -> AfterValidator:
    lowest, highest = parse_duration(low), parse_duration(high)

    def check(value: timedelta) -> timedelta:
        if not lowest <= value <= highest:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return AfterValidator(check)


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
SecretHttpUrl = Annotated[SecretStr, AfterValidator(_secret_http_url)]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]
TargetUrl = Annotated[str, AfterValidator(_target_url)]
NamedUrls = Annotated[dict[str, TargetUrl], BeforeValidator(_pairs)]


class Settings(BaseModel):
    """One attribute for each variable; the description says what it is for and, in messages, what to do about it."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_ca_file: str | None = Field(
        default=None,
        alias="OPSAGENT_REDIS_CA_FILE",
        description="File with the CA certificates that sign Redis' certificate; default: the system's.",
    )
    redis_allow_insecure_tls: bool = Field(
        default=False,
        alias="OPSAGENT_REDIS_ALLOW_INSECURE_TLS",
        description="true accepts any certificate from Redis. For experiments only.",
    )
    redis_url: SecretStr = Field(
        alias="REDIS_URL",
        description="Where the task queue is, such as rediss://user:password@redis.example.com:6380/0.",
    )
    handlers: CommaSeparated = Field(
        default=(),
        alias=_HANDLERS,
        description="Python modules with handlers of your own, comma separated; see handlers.md.",
    )
    builtins: Annotated[tuple[TaskType, ...], BeforeValidator(_builtins)] = Field(
        default=BUILTINS,
        alias=_BUILTINS,
        description="Types of tasks that the built-in handlers run, comma separated, or none.",
    )
    vercel_token: SecretStr | None = Field(
        default=None,
        validate_default=True,
        alias="VERCEL_TOKEN",
        description=(
            "Token for the Vercel API; create one under Account Settings → Tokens and keep it in a Secret. "
            "Not needed when WORKER_BUILTINS leaves deploy out, or a handler of your own runs it."
        ),
    )
    vercel_team_id: str | None = Field(
        default=None,
        validate_default=True,
        alias="VERCEL_TEAM_ID",
        description=(
            "ID of the Vercel team (team_…) whose projects are deployed; it is under Team Settings → General. "
            "Not needed when VERCEL_TOKEN is not."
        ),
    )
    vercel_api_url: HttpUrl = Field(
        default="https://api.vercel.com",
        alias="VERCEL_API_URL",
        description="Base URL of the Vercel API.",
    )
    vercel_poll_interval: Annotated[Duration, _between("50ms", "5m")] = Field(
        default=timedelta(seconds=5),
        alias="VERCEL_POLL_INTERVAL",
        description="How often a running deployment is looked at.",
    )
    vercel_deploy_timeout: Annotated[Duration, _between("1s", "24h")] = Field(
        # Vercel ends a build after 45 minutes ("Limits" in its documentation).
        default=timedelta(minutes=45),
        alias="VERCEL_DEPLOY_TIMEOUT",
        description="Time a deployment may take; it is then cancelled and its task failed.",
    )
    poll_interval: Annotated[Duration, _between("100ms", "5m")] = Field(
        default=timedelta(seconds=5),
        alias="WORKER_POLL_INTERVAL",
        description="How often to look for tasks when no event announced one.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO",
        alias="LOG_LEVEL",
        description="Least important messages that are logged: DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    sentry_dsn: SecretHttpUrl | None = Field(
        default=None,
        alias="SENTRY_DSN",
        description="Where final failures are reported; unset: nowhere.",
    )
    slack_webhook_url: SecretHttpUrl | None = Field(
        default=None,
        alias="SLACK_WEBHOOK_URL",
        description="Slack incoming webhook that alert tasks are sent to.",
    )
    alert_webhook_url: SecretHttpUrl | None = Field(
        default=None,
        alias="ALERT_WEBHOOK_URL",
        description="Any other webhook that alert tasks are sent to, as JSON.",
    )
    alert_webhook_secret: SecretStr | None = Field(
        default=None,
        alias="ALERT_WEBHOOK_SECRET",
        description="What requests to ALERT_WEBHOOK_URL are signed with; unset: they are not.",
    )
    pagerduty_routing_key: Annotated[SecretStr, AfterValidator(_routing_key)] | None = Field(
        default=None,
        alias="PAGERDUTY_ROUTING_KEY",
        description="Integration key (Events API v2) of the PagerDuty service that alert tasks are sent to.",
    )
    pagerduty_events_url: HttpUrl = Field(
        default="https://events.pagerduty.com",
        alias="PAGERDUTY_EVENTS_URL",
        description="Base URL of PagerDuty's Events API; accounts in the EU: https://events.eu.pagerduty.com.",
    )
    alert_dedup_window: Annotated[Duration, _between("0s", "24h")] = Field(
        default=timedelta(minutes=5),
        alias="ALERT_DEDUP_WINDOW",
        description="Time in which alerts with the same key are sent once; 0s: each is sent.",
    )
    orchestrator_url: HttpUrl | None = Field(
        default=None,
        alias="ORCHESTRATOR_URL",
        description="Base URL of the orchestrator; its /health is what the service name orchestrator stands for.",
    )
    service_urls: NamedUrls = Field(
        default={},
        alias="MONITOR_SERVICE_URLS",
        description=(
            "What a monitor task may name as its service: name=URL, comma separated. "
            "http, https, tcp, tls, redis or rediss; a Redis may have a user and password."
        ),
    )
    worker: Annotated[str, Field(pattern=rf"^{_NAME}/{_NAME}$")] = Field(
        default="default/ops-agent",
        alias="OPSAGENT_WORKER",
        description="namespace/name of the OpsAgentWorker that this worker belongs to; workers of one share their queue.",
    )
    pod_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        alias="OPSAGENT_POD_NAME",
        description="Name under which this worker holds leases; default: host name and process id.",
    )
    version: str = Field(
        default="unknown",
        alias="OPSAGENT_VERSION",
        description="Version of the image, the label under which results are counted.",
    )
    revision: str = Field(
        default="",
        alias="OPSAGENT_REVISION",
        description="Name of the revision that this worker was started for.",
    )
    queue_prefix: Annotated[str, Field(pattern=r"^\S+$")] = Field(
        default="orchestrator",
        alias="OPSAGENT_QUEUE_PREFIX",
        description="Beginning of the orchestrator's Redis keys, without the colon after it.",
    )
    agents: CommaSeparated = Field(
        default=("ops", "ops_agent"),
        alias=_AGENTS,
        description="Take tasks whose assigned_to is one of these, comma separated. Set but empty: take every task.",
    )
    concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4,
        alias="OPSAGENT_CONCURRENCY",
        description="Tasks that run at the same time.",
    )
    task_timeout: Annotated[Duration, _between("100ms", "24h")] = Field(
        default=timedelta(minutes=5),
        alias="OPSAGENT_TASK_TIMEOUT",
        description="Time one attempt of a task may take.",
    )
    lease: Annotated[Duration, _between("500ms", "1h")] = Field(
        default=timedelta(seconds=30),
        alias="OPSAGENT_LEASE",
        description="How long a task stays with a worker that has gone silent; a living one renews it every third.",
    )
    drain_timeout: Annotated[Duration, _between("0s", "24h")] = Field(
        default=timedelta(minutes=10),
        alias="OPSAGENT_DRAIN_TIMEOUT",
        description="Time that running tasks get to finish after SIGTERM.",
    )
    result_ttl: Annotated[Duration, _between("1s", "8760h")] = Field(
        default=timedelta(hours=168),
        alias="OPSAGENT_RESULT_TTL",
        description="How long the record of a finished task stays in Redis.",
    )
    retry_max_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=4,
        alias="OPSAGENT_RETRY_MAX_ATTEMPTS",
        description="Attempts in all, the first one included; a task's own max_retries may allow fewer.",
    )
    retry_backoff: Annotated[Duration, _between("1ms", "1h")] = Field(
        default=timedelta(seconds=10),
        alias="OPSAGENT_RETRY_BACKOFF",
        description="Upper bound of the wait before the second attempt; it doubles with each further one.",
    )
    retry_max_backoff: Annotated[Duration, _between("1ms", "24h")] = Field(
        default=timedelta(minutes=10),
        alias="OPSAGENT_RETRY_MAX_BACKOFF",
        description="Upper bound of the wait before any attempt; not shorter than OPSAGENT_RETRY_BACKOFF.",
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080,
        alias="OPSAGENT_HTTP_PORT",
        description="Port of /livez, /readyz and /metrics; 0 lets the system choose one.",
    )

    @model_validator(mode="before")
    @classmethod
    def _unset_what_is_blank(cls, environment: Mapping[str, str]) -> dict[str, str]:
        # A Secret made from a file often ends with a newline, and a chart often sets an optional variable to nothing.
        stripped = {name: value.strip() for name, value in environment.items()}
        return {name: value for name, value in stripped.items() if value or name == _AGENTS}

    @field_validator("redis_url")
    @classmethod
    def _queue_accepts_redis_url(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        try:
            # Checks only: a connection is opened with the first command, and this client never sends one.
            _ = connect(
                url.get_secret_value(),
                ca_file=info.data.get("redis_ca_file"),
                allow_insecure_tls=info.data.get("redis_allow_insecure_tls", False),
            )
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return url

    @field_validator("vercel_token", "vercel_team_id")
    @classmethod
    def _required_to_deploy(cls, value: Any, info: ValidationInfo) -> Any:
        own: Collection[str] = info.context or ()
        deploys = TaskType.DEPLOY in info.data.get("builtins", BUILTINS)
        if value is None and deploys and TaskType.DEPLOY not in own:
            raise PydanticCustomError("missing", "is missing")
        return value

    @field_validator("retry_max_backoff")
    @classmethod
    def _not_shorter_than_backoff(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        backoff = info.data.get("retry_backoff")
        if backoff is not None and value < backoff:
            raise ValueError("must not be shorter than OPSAGENT_RETRY_BACKOFF")
        return value

    @classmethod
    def load(
        cls, environment: Mapping[str, str] = os.environ, *, own_types: Collection[str] = ()
    ) -> Self:
        """The settings that `environment` describes. Types in `own_types` are not run by a built-in handler.

        Raises:
            SettingsError: some variable is missing or wrong; it lists every one of them.
        """
        try:
            return cls.model_validate(environment, context=own_types)
        except ValidationError as error:
            problems = [_problem(dict(detail)) for detail in error.errors(include_url=False)]
            raise SettingsError(sorted(problems)) from None

    def redactor(self) -> Redactor:
        """Knows every secret of these settings, the passwords inside URLs included."""
        secrets = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        urls = (self.redis_url.get_secret_value(), *self.service_urls.values())
        # What makes a webhook's URL a secret is its path, and a request line shows the path alone.
        paths = (urlsplit(secret).path for secret in secrets if secret.startswith("http"))
        return Redactor(
            [
                *secrets,
                *(secret for url in urls for secret in passwords(url)),
                *(path for path in paths if len(path) >= _SHORTEST_SECRET_PATH),
            ]
        )


def handler_modules(environment: Mapping[str, str]) -> Sequence[str]:
    """The modules of WORKER_HANDLERS, which are imported before the other settings are judged."""
    modules: Sequence[str] = _comma_separated(environment.get(_HANDLERS, ""))
    return modules


def _problem(detail: dict[str, Any]) -> str:
    # pydantic names a default that was found wrong by its attribute, and anything else by its variable.
    place = str(detail["loc"][0])
    variable, hint = next(
        (str(field.alias), str(field.description))
        for name, field in Settings.model_fields.items()
        if place in {name, field.alias}
    )
    match detail["type"]:
        case "missing":
            reason = "is missing"
        case "value_error":
            reason = str(detail["ctx"]["error"])
        case _:
            reason = str(detail["msg"])
    separator = " " if reason == "is missing" else ": "
    return f"{variable}{separator}{reason.rstrip('.')}. {hint}"
