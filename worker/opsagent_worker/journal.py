"""What the logs and the metrics say about each task."""

from datetime import UTC, datetime
from logging import DEBUG, INFO
from typing import Final, assert_never

import structlog

from opsagent_queue import parse_time
from opsagent_worker.logs import Lines
from opsagent_worker.metrics import Metrics
from opsagent_worker.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandBack,
    LeaseLost,
    Retry,
)
from opsagent_worker.reporter import Report
from opsagent_worker.running import RunningTask

log = structlog.get_logger()

_STARTED: Final = "task started"
_COMPLETED: Final = "task completed"


class Journal:
    """Notes the start of each attempt, and its end once the queue has taken it."""

    def __init__(self, *, metrics: Metrics, lines: Lines) -> None:
        self._metrics = metrics
        self._lines = lines

    def started(self, running: RunningTask) -> None:
        metrics = self._metrics.of(running.label)
        metrics.claimed.inc()
        if running.lease.attempt == 1:
            created = parse_time(running.claim.task.created_at)
            if created is not None:
                waited = (datetime.now(UTC) - created).total_seconds()
                metrics.wait_seconds.observe(max(0.0, waited))
        self._lines.task(DEBUG, _STARTED, running.fields)

    def raised(self, error: Exception) -> None:
        log.debug("handler raised", exc_info=error)

    def handler_ended(self, running: RunningTask, seconds: float) -> None:
        self._metrics.of(running.label).run_seconds.observe(seconds)

    def reported(self, report: Report, taken: bool) -> None:  # noqa: FBT001 - see `Reported`
        running, outcome = report.running, report.outcome
        if isinstance(outcome, LeaseLost):
            return  # noted when it was lost
        if not taken:
            self._metrics.late_reports.inc()
            log.warning(
                "outcome came too late: the lease was lost",
                outcome=type(outcome).__name__,
                **running.fields.as_dict(),
            )
            return
        metrics, seconds = self._metrics.of(running.label), round(report.seconds, 3)
        match outcome:
            case Completed():
                metrics.completed.inc()
                self._lines.task(INFO, _COMPLETED, running.fields, seconds)
            case Cancelled():
                metrics.cancelled.inc()
                log.info("task cancelled", seconds=seconds, **running.fields.as_dict())
            case Failed(error, error_class):
                self._metrics.failed(running.label, error_class)
                log.error(
                    "task failed",
                    seconds=seconds,
                    error=error,
                    error_class=error_class,
                    **running.fields.as_dict(),
                )
            case Retry(error, reason, delay):
                self._metrics.retried.labels(running.label, reason).inc()
                log.warning(
                    "task is tried again",
                    seconds=seconds,
                    error=error,
                    delay=round(delay, 3),
                    **running.fields.as_dict(),
                )
            case HandBack():
                self._metrics.released.inc()
                log.info("task handed back", seconds=seconds, **running.fields.as_dict())
            case _:
                assert_never(outcome)
