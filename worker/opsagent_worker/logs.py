"""Structured logs: one JSON object per line on stdout, with the task's ids and without secrets."""

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from opsagent_worker.redaction import Redactor

# They log whole URLs at INFO, and a Slack webhook's URL is its secret.
_TALKATIVE: Final = ("httpx", "httpcore", "asyncio")

# Values whose text is their JSON: nothing inside them has to be looked at before they are encoded.
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


class TaskFields(msgspec.Struct, frozen=True):
    """What every line logged while a task runs says about it."""

    task_id: str
    trace_id: str | None
    task_type: str
    attempt: int

    def as_dict(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self)


current_task: ContextVar[TaskFields] = ContextVar("current_task")
"""The task that runs here. One variable, set once per task: structlog's own would be one for each field."""


class TaskLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One of the lines that every task has, in the field order of all others; see `Lines.task`."""

    task_id: str
    trace_id: str | None
    task_type: str
    attempt: int
    seconds: float | None = None
    event: str
    level: str
    timestamp: datetime


class Lines:
    """Where log lines go: gathered while the event loop turns once, and written together.

    A crash loses the lines of that turn at most. An error's line is written at once, with all before it. Lines of other
    threads, and all lines before `gathering` and after it, are written at once, too.
    """

    def __init__(self, redactor: Redactor, *, level: str = "INFO") -> None:
        self.level = logging.getLevelNamesMapping()[level]
        self._redactor = redactor
        # Reentrant: the collector may run anywhere in here, and what it destroys may log.
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Gathers what the running event loop's thread logs, until the end of the block."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        try:
            yield
        finally:
            self._loop = None
            self.flush()

    def task(
        self, level: int, event: str, fields: TaskFields, seconds: float | None = None
    ) -> None:
        """Logs a line that every task has: what `structlog` would write, for a tenth of its time."""
        if level < self.level:
            return
        line = TaskLine(
            task_id=fields.task_id,
            trace_id=fields.trace_id,
            task_type=fields.task_type,
            attempt=fields.attempt,
            seconds=seconds,
            event=event,
            level=logging.getLevelName(level).lower(),
            timestamp=datetime.now(UTC),
        )
        try:
            text = msgspec.json.encode(line).decode()
        except UnicodeEncodeError:
            text = ""  # an id that is no UTF-8
        if not text or self._redactor.occurs_in(text):
            text = self.render(msgspec.to_builtins(line))
        self.write(text)

    def render(self, event: Mapping[str, Any]) -> str:
        """`event` as one line of JSON, redacted."""
        if all(type(value) in _PLAIN for value in event.values()):
            text = _json(event)
            if not self._redactor.occurs_in(text):
                return text
        return _json(self._redactor.value(event))

    def write(self, line: str, *, at_once: bool = False) -> None:
        gathering = self._loop is not None and threading.get_ident() == self._thread
        with self._lock:
            self._lines.append(line)
            first = len(self._lines) == 1
        if at_once or not gathering:
            self.flush()
        elif first and self._loop is not None:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            if not lines:
                return
            # Lost if nobody reads them any more, or the disk behind is full: what they are about goes on.
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                # Not kept: whoever replaces sys.stdout wants to see this.
                sys.stdout.write("\n".join(lines) + "\n")
                sys.stdout.flush()


class _Logger:
    """What structlog writes to: a method for each level."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def msg(self, line: str) -> None:
        self._lines.write(line)

    def urgent(self, line: str) -> None:
        self._lines.write(line, at_once=True)

    log = debug = info = warn = warning = msg
    err = error = critical = exception = fatal = failure = urgent


class _Handler(logging.Handler):
    """What the standard library's records go to."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self.format(record), at_once=record.levelno >= logging.ERROR)
        except Exception:  # noqa: BLE001 - a line that cannot be written must not end what it is about
            self.handleError(record)


def configure(*, level: str, redactor: Redactor) -> Lines:
    """Sends structlog's and the standard library's records through one chain to stdout.

    `current_task` and fields bound with `structlog.contextvars` are on every line logged while a task runs, the
    libraries' lines included.
    """
    lines = Lines(redactor, level=level)
    annotate: list[structlog.typing.Processor] = [
        _merge_task_fields,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        lambda _logger, _method, event: lines.render(event),
    ]
    structlog.configure(
        processors=[*annotate, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Logger(lines),
        cache_logger_on_first_use=True,
    )

    handler = _Handler(lines)
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
    return lines


def _merge_task_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    fields = current_task.get(None)
    if fields is not None:
        for name, value in fields.as_dict().items():
            event.setdefault(name, value)
    return event


def _json(event: Mapping[str, Any]) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except (TypeError, ValueError, RecursionError):
        # A text that is no UTF-8, a key that is no text: rare enough for the slower encoder.
        return json.dumps(event, default=str)
