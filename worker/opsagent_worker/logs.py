"""Structured logs: one JSON object per line on stdout, with the task's ids and without secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec
import structlog

from opsagent_worker.redaction import Redactor

# They log whole URLs at INFO, and a Slack webhook's URL is its secret.
_TALKATIVE: Final = ("httpx", "httpcore", "asyncio")


def configure(*, level: str, redactor: Redactor) -> None:
    """Sends structlog's and the standard library's records through one chain to stdout.

    Fields bound with `structlog.contextvars` (task id, trace id, type, attempt) are on every line logged while the task
    runs, the libraries' lines included.
    """

    def redact(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: redactor.value(value) for key, value in event.items()}

    annotate: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(serializer=_json),
    ]
    structlog.configure(
        processors=[*annotate, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*annotate, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _json(event: Any, **_structlogs: Any) -> str:
    return msgspec.json.encode(event).decode()
