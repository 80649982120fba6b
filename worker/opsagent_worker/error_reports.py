"""Sentry, if it is configured: each final failure and each fault of the worker itself, once and without secrets."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import sentry_sdk
from sentry_sdk.transport import Transport

from opsagent_worker.outcome import Failed
from opsagent_worker.redaction import Redactor
from opsagent_worker.reporter import Report
from opsagent_worker.settings import Settings


class ErrorReports(Protocol):
    """Whoever is told of what needs a person. No method blocks or raises."""

    def reported(self, report: Report, taken: bool) -> None:  # noqa: FBT001 - see `Reported`
        """The queue has answered a report; a final failure that it took is one to tell.

        After a lost lease somebody else has the task, and an attempt that is repeated or handed back may yet succeed.
        """

    def poisoned(self, tasks: int) -> None:
        """So many tasks were given up because they took down worker after worker."""

    def fault(self, error: Exception) -> None:
        """The worker itself has failed."""


class NoErrorReports:
    def reported(self, report: Report, taken: bool) -> None:  # noqa: FBT001 - see `Reported`
        """Nobody is told."""

    def poisoned(self, tasks: int) -> None:
        """Nobody is told."""

    def fault(self, error: Exception) -> None:
        """Nobody is told."""


class SentryReports:
    """Sends events from a thread of the SDK's own."""

    def __init__(self, version: str) -> None:
        self._version = version

    def reported(self, report: Report, taken: bool) -> None:  # noqa: FBT001 - see `Reported`
        if not taken or not isinstance(report.outcome, Failed):
            return
        fields, outcome = report.running.fields, report.outcome
        tags = {
            "task_id": fields.task_id,
            "task_type": fields.task_type,
            "trace_id": fields.trace_id or "",
            "attempt": str(fields.attempt),
            "error_class": outcome.error_class,
        }
        with _tagged({**tags, "version": self._version}):
            if outcome.cause is None:
                sentry_sdk.capture_message(outcome.error, level="error")
            else:
                sentry_sdk.capture_exception(outcome.cause)

    def poisoned(self, tasks: int) -> None:
        with _tagged({"version": self._version, "tasks": str(tasks)}):
            sentry_sdk.capture_message(
                "tasks were given up because they took down worker after worker", level="error"
            )

    def fault(self, error: Exception) -> None:
        with _tagged({"version": self._version}) as scope:
            scope.set_level("fatal")
            sentry_sdk.capture_exception(error)


def configure_error_reports(
    settings: Settings, redactor: Redactor, *, transport: Transport | None = None
) -> ErrorReports:
    """Starts the SDK if there is a DSN. `transport` takes the events instead of the network."""
    if settings.sentry_dsn is None:
        return NoErrorReports()

    def redact(event: Any, _hint: dict[str, Any]) -> Any:
        return redactor.value(event)

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        release=settings.version,
        server_name=settings.pod_name,
        transport=transport,
        before_send=redact,
        # Local variables hold payloads, and no redactor knows what is confidential in those.
        include_local_variables=False,
        # Integrations report whatever is logged as an error, which would make two reports of one failure.
        default_integrations=False,
        auto_enabling_integrations=False,
        # Breadcrumbs would tell of other tasks that ran at the same time.
        max_breadcrumbs=0,
    )
    return SentryReports(settings.version)


@contextlib.contextmanager
def _tagged(tags: Mapping[str, str]) -> Iterator[sentry_sdk.Scope]:
    """A scope of its own, so that tasks which fail side by side do not mix."""
    with sentry_sdk.new_scope() as scope:
        scope.set_tags(tags)
        yield scope
