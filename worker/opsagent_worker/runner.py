"""Runs one claimed task from its start to the report of its end."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, assert_never

import structlog
from structlog.contextvars import bound_contextvars

from opsagent_queue import EventType, Task, parse_time
from opsagent_worker.backoff import Backoff
from opsagent_worker.errors import PermanentError
from opsagent_worker.events import EventPublisher
from opsagent_worker.handlers.context import TaskContext, TaskHandler
from opsagent_worker.metrics import Metrics
from opsagent_worker.outcome import (
    Completed,
    Failed,
    HandBack,
    LeaseLost,
    Outcome,
    Retry,
    TaskTimeoutError,
    allowed_attempts,
    judge,
)
from opsagent_worker.redaction import Redactor
from opsagent_worker.reporter import Reporter
from opsagent_worker.running import Interruption, RunningTask

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    handlers: Mapping[str, TaskHandler]
    reporter: Reporter
    events: EventPublisher
    metrics: Metrics
    redactor: Redactor
    backoff: Backoff
    task_timeout: float
    """Seconds."""
    max_attempts: int
    version: str
    pod_name: str
    capture: Callable[[Exception], object]
    """Told of the error behind each final failure, once."""

    async def run(self, running: RunningTask) -> None:
        task, lease = running.claim.task, running.lease
        label = task.type if task.type in self.handlers else "other"
        with bound_contextvars(
            task_id=task.task_id,
            trace_id=task.trace_id,
            task_type=task.type,
            attempt=lease.attempt,
        ):
            self._started(running, label)
            began = time.monotonic()
            outcome = await self._attempt(running)
            seconds = time.monotonic() - began
            self.metrics.run_seconds.labels(label).observe(seconds)
            # A lost lease has nothing to report to: the queue has already given the task away.
            taken = not isinstance(outcome, LeaseLost) and await self.reporter.report(
                lease, outcome, seconds=seconds
            )
            if taken:
                self._ended(outcome, label, seconds)

    def _started(self, running: RunningTask, label: str) -> None:
        self.metrics.claimed.labels(label).inc()
        created = parse_time(running.claim.task.created_at)
        if created is not None and running.lease.attempt == 1:
            waited = (datetime.now(UTC) - created).total_seconds()
            self.metrics.wait_seconds.labels(label).observe(max(0.0, waited))

    async def _attempt(self, running: RunningTask) -> Outcome:
        if running.interruption is not None:
            return _interrupted(running.interruption)
        task, lease = running.claim.task, running.lease
        allowed = allowed_attempts(
            task_max_retries=task.max_retries, settings_max_attempts=self.max_attempts
        )
        try:
            return Completed(await self._call_handler(running))
        except asyncio.CancelledError:
            if running.interruption is None:
                raise  # the process ends, or somebody cancelled what is not theirs to cancel
            return _interrupted(running.interruption)
        except Exception as error:
            outcome = judge(
                error, attempt=lease.attempt, max_attempts=allowed, backoff=self.backoff
            )
            if isinstance(outcome, Failed):
                self.capture(error)
            log.debug("handler raised", exc_info=error)
            return self._redacted(outcome)

    async def _call_handler(self, running: RunningTask) -> Mapping[str, Any]:
        task, lease = running.claim.task, running.lease
        handler = self._handler(task)
        timeout = self.task_timeout if handler.timeout is None else handler.timeout
        context = TaskContext(
            task=task,
            attempt=lease.attempt,
            emit=partial(self.events.publish, task=task),
            log=log,
            deadline=time.monotonic() + timeout,
        )
        running.handler_started()
        try:
            async with asyncio.timeout(timeout) as limit:
                await self._announce(task, attempt=lease.attempt)
                result = await handler.run(context)
        except TimeoutError:
            if limit.expired():
                raise TaskTimeoutError(
                    f"took longer than the {timeout:g} s a task may take"
                ) from None
            raise
        finally:
            running.handler_ended()
        return self._checked(result or {})

    def _handler(self, task: Task) -> TaskHandler:
        handler = self.handlers.get(task.type)
        if handler is None:
            # Left in the queue it would come back for ever, and no other agent may take it.
            known = ", ".join(sorted(self.handlers))
            raise PermanentError(
                f"no handler for tasks of type {task.type!r}; this worker runs {known}"
            )
        return handler

    async def _announce(self, task: Task, *, attempt: int) -> None:
        await self.events.publish(
            EventType.TASK_STARTED,
            {
                "task_type": task.type,
                "attempt": attempt,
                "worker": self.pod_name,
                "version": self.version,
            },
            task=task,
        )

    def _checked(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            json.dumps(result, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PermanentError(f"the handler's result is not JSON: {error}") from error
        redacted: Mapping[str, Any] = self.redactor.value(dict(result))
        return redacted

    def _redacted(self, outcome: Failed | Retry) -> Failed | Retry:
        match outcome:
            case Failed(error, error_class):
                return Failed(self.redactor.text(error), error_class)
            case Retry(error, reason, delay):
                return Retry(self.redactor.text(error), reason, delay)
            case _:
                assert_never(outcome)

    def _ended(self, outcome: Outcome, label: str, seconds: float) -> None:
        duration = round(seconds, 3)
        match outcome:
            case Completed():
                self.metrics.finished.labels(label, "completed").inc()
                log.info("task completed", seconds=duration)
            case Failed(error, error_class):
                self.metrics.finished.labels(label, "failed").inc()
                log.error("task failed", seconds=duration, error=error, error_class=error_class)
            case Retry(error, reason, delay):
                self.metrics.retried.labels(label, reason).inc()
                log.warning(
                    "task is tried again", seconds=duration, error=error, delay=round(delay, 3)
                )
            case HandBack():
                self.metrics.released.inc()
                log.info("task handed back", seconds=duration)
            case LeaseLost():
                pass
            case _:
                assert_never(outcome)


def _interrupted(why: Interruption) -> Outcome:
    match why:
        case Interruption.LEASE_LOST:
            return LeaseLost()
        case Interruption.LEASE_EXPIRED | Interruption.DRAINED:
            # An expired lease is ours until somebody reaps it; handed back in time, it does not count as a crash.
            return HandBack()
        case _:
            assert_never(why)
