"""Runs one claimed task: its handler, within its time, and what its end means."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, assert_never

import structlog

from opsagent_queue import Event, EventType, Task
from opsagent_worker.backoff import Backoff
from opsagent_worker.errors import PermanentError
from opsagent_worker.events import EventPublisher
from opsagent_worker.handlers.context import TaskContext, TaskHandler
from opsagent_worker.logs import current_task
from opsagent_worker.outcome import (
    Cancelled,
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
from opsagent_worker.running import Interruption, RunningTask
from opsagent_worker.time_limits import TimeLimits

log = structlog.get_logger()


class Reports(Protocol):
    """Takes outcomes and events: the `Reporter`, or what a test has in its place."""

    def post(self, event: Event) -> None: ...

    def report(self, running: RunningTask, outcome: Outcome, *, seconds: float) -> None: ...


class Notes(Protocol):
    """Takes note of what happens to a task: the `Journal`, or what a test has in its place."""

    def started(self, running: RunningTask) -> None: ...

    def raised(self, error: Exception) -> None: ...

    def handler_ended(self, running: RunningTask, seconds: float) -> None: ...


def _to_nobody(_running: RunningTask, _fraction: float | None, _message: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    handlers: Mapping[str, TaskHandler]
    reporter: Reports
    events: EventPublisher
    journal: Notes
    redactor: Redactor
    backoff: Backoff
    task_timeout: float
    """Seconds, for handlers that set no other time."""
    max_attempts: int
    version: str
    pod_name: str
    limits: TimeLimits = field(default_factory=TimeLimits)
    progress: Callable[[RunningTask, float | None, str], None] = _to_nobody
    """Told how far each task is; see `TaskContext.progress`."""

    async def run(self, running: RunningTask) -> None:
        """From the start of the handler to the hand-over of its outcome to the reporter. Raises nothing of a handler's.

        Whoever runs this must be `running.job`, or nothing could interrupt it.
        """
        current_task.set(running.fields)
        self.journal.started(running)
        began = time.monotonic()
        outcome = await self._attempt(running)
        running.job = None
        seconds = time.monotonic() - began
        self.journal.handler_ended(running, seconds)
        if running.interruption is Interruption.ABANDONED:
            outcome = LeaseLost()
        self.reporter.report(running, outcome, seconds=seconds)

    async def _attempt(self, running: RunningTask) -> Outcome:
        if running.interruption is not None:
            return self._interrupted(running, running.interruption)
        try:
            result = await self._call_handler(running)
            return Completed(self._checked(result))
        except BaseException as error:
            # Whatever a handler raises is the end of its task and of nothing else.
            if running.interruption is not None:
                # Interrupted, be it that it said so in its own way.
                return self._interrupted(running, running.interruption)
            if isinstance(error, Exception):
                return self._failure(running, error)
            job = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and job is not None and job.cancelling():
                raise  # the process ends, or somebody cancelled what is not theirs to cancel
            # It awaited something that was cancelled, or would have ended the worker; panics of extensions come so, too.
            return self._failure(running, RuntimeError(f"handler raised {error!r}"))

    async def _call_handler(self, running: RunningTask) -> Mapping[str, Any] | None:
        task, handler = running.claim.task, running.handler
        if handler is None:
            # Left in the queue it would come back for ever, and no other agent may take it.
            known = ", ".join(sorted(self.handlers))
            raise PermanentError(
                f"no handler for tasks of type {task.type!r}; this worker runs {known}"
            )
        self._announce(task, attempt=running.lease.attempt)
        timeout = self._timeout(handler)
        self.limits.start(running, timeout)
        try:
            return await handler.run(self._context(running, timeout))
        finally:
            self.limits.stop(running)

    def _timeout(self, handler: TaskHandler) -> float:
        return self.task_timeout if handler.timeout is None else handler.timeout

    def _context(self, running: RunningTask, timeout: float) -> TaskContext:
        task = running.claim.task
        return TaskContext(
            task=task,
            attempt=running.lease.attempt,
            emit=partial(self.events.publish, task=task),
            log=log,
            deadline=time.monotonic() + timeout,
            report_progress=partial(self.progress, running),
            is_cancelled=running.interrupted,
            is_task_cancelled=running.cancelled,
        )

    def _announce(self, task: Task, *, attempt: int) -> None:
        # Nothing a handler said is in it, so there is nothing to redact.
        payload = {
            "task_type": task.type,
            "attempt": attempt,
            "worker": self.pod_name,
            "version": self.version,
        }
        self.reporter.post(Event.new(EventType.TASK_STARTED, task=task, payload=payload))

    def _checked(self, result: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if result is None:
            return None
        try:
            result = dict(result)
            text = json.dumps(result, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PermanentError(f"the handler's result is not JSON: {error}") from error
        if not self.redactor.occurs_in(text):
            return result
        redacted: Mapping[str, Any] = self.redactor.value(result)
        return redacted

    def _failure(self, running: RunningTask, error: Exception) -> Failed | Retry:
        allowed = allowed_attempts(
            task_max_retries=running.claim.task.max_retries,
            settings_max_attempts=self.max_attempts,
        )
        outcome = judge(
            error, attempt=running.lease.attempt, max_attempts=allowed, backoff=self.backoff
        )
        self.journal.raised(error)
        match outcome:
            case Failed(text, error_class, cause):
                return Failed(self.redactor.text(text), error_class, cause)
            case Retry(text, reason, delay, error_class, counted):
                return Retry(self.redactor.text(text), reason, delay, error_class, counted)
            case _:
                assert_never(outcome)

    def _interrupted(self, running: RunningTask, why: Interruption) -> Outcome:
        match why:
            case Interruption.LEASE_LOST | Interruption.ABANDONED:
                return LeaseLost()
            case Interruption.CANCELLED:
                return Cancelled()
            case Interruption.TIMED_OUT:
                handler = running.handler
                limit = self.task_timeout if handler is None else self._timeout(handler)
                return self._failure(
                    running, TaskTimeoutError(f"took longer than the {limit:g} s a task may take")
                )
            case Interruption.LEASE_EXPIRED | Interruption.DRAINED:
                # An expired lease is ours until somebody reaps it; handed back in time, it does not count as a crash.
                return HandBack()
            case _:
                assert_never(why)
