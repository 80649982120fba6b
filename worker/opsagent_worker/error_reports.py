"""Sentry, if it is configured: final failures, each once, without secrets."""

from collections.abc import Callable
from typing import Any

import sentry_sdk

from opsagent_worker.redaction import Redactor
from opsagent_worker.settings import Settings


def configure_error_reports(
    settings: Settings, redactor: Redactor
) -> Callable[[Exception], object]:
    """What to call with the error behind a final failure."""
    if settings.sentry_dsn is None:
        return lambda _error: None

    def redact(event: Any, _hint: dict[str, Any]) -> Any:
        return redactor.value(event)

    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        release=settings.version,
        server_name=settings.pod_name,
        before_send=redact,
        send_default_pii=False,
        # Local variables hold payloads, and no redactor knows what is confidential in those.
        include_local_variables=False,
        # Integrations report whatever is logged as an error, which would make two reports of one failure.
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    return sentry_sdk.capture_exception
