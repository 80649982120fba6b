"""The operator's settings, from the environment (docs/operations.md has the table)."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["Settings", "SettingsError", "load_settings"]


class SettingsError(Exception):
    """The environment cannot be used; the message lists everything that is wrong with it."""


class Settings(BaseSettings):
    """Each field is the variable `OPSAGENT_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="OPSAGENT_", frozen=True, extra="ignore")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Namespaces to serve, separated by commas; empty for all."""

    http_host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside the pod
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """For /healthz, /readyz and /metrics; 0 takes a free one, which the log tells."""

    workers: Annotated[int, Field(ge=1, le=256)] = 32
    """How many objects are reconciled at the same time: each waits for the API server most of its time."""

    active_poll: Annotated[float, Field(gt=0)] = 15.0
    """Seconds between two visits to an object at which something moves, if no message tells of anything."""

    idle_poll: Annotated[float, Field(gt=0)] = 30.0
    """Seconds between two visits to an object at rest."""

    reconcile_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a reconciliation is given up and tried again later."""

    request_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for one request to the API server, the watches left out."""

    watch_timeout: Annotated[int, Field(ge=1)] = 60
    """Seconds after which a watch is opened anew, so that a dead connection is noticed."""

    shutdown_timeout: Annotated[float, Field(gt=0)] = 15.0
    """Seconds that running reconciliations get to finish after SIGTERM."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(sorted({name.strip() for name in value.split(",") if name.strip()}))


def load_settings() -> Settings:
    """The settings.

    Raises:
        SettingsError: one or more variables cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"OPSAGENT_{str(problem['loc'][0]).upper()}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("; ".join(problems)) from None
