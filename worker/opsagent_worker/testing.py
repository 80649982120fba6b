"""Runs a handler in a test, judged as in a worker, with no Redis and no cluster (docs/handlers.md).

```python
run = await run_task(resize, payload={"url": "https://shop.example/cat.png"})
assert run.outcome == "completed"
```
"""

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, assert_never

import structlog

from opsagent_queue import Claim, Event, EventType, Lease, Task
from opsagent_worker.backoff import Backoff
from opsagent_worker.events import EventPublisher
from opsagent_worker.handlers.context import TaskContext, TaskHandler
from opsagent_worker.handlers.definition import definition_of
from opsagent_worker.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandBack,
    LeaseLost,
    Outcome,
    Retry,
)
from opsagent_worker.redaction import Redactor
from opsagent_worker.runner import Runner
from opsagent_worker.running import RunningTask
from opsagent_worker.threads import HandlerThreads

_NO_JITTER: Final = Backoff(base=0.0, ceiling=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One call of `context.progress`."""

    fraction: float | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """What became of one attempt, and what its handler did besides."""

    outcome: Literal["completed", "retry", "failed"]
    result: Mapping[str, Any] | None = None
    error: str | None = None
    """As it stands in the task's record: why the attempt failed."""
    error_class: str | None = None
    """Name of the exception's class."""
    exception: Exception | None = None
    """What was raised; `raise run.exception` shows where."""
    retry_after: float | None = None
    """Seconds that `context.retry(after=…)` asked for; None: the usual back-off."""
    seconds: float = 0.0
    """How long the handler ran."""
    events: Sequence[Event] = ()
    """What `context.emit` published."""
    progress: Sequence[Progress] = ()
    logs: Sequence[Mapping[str, Any]] = ()
    """What `context.log` wrote: `event`, `log_level` and the fields given."""


async def run_task(
    handler: Callable[..., Any] | TaskHandler,
    *,
    payload: Mapping[str, Any] | None = None,
    attempt: int = 1,
    max_attempts: int = 4,
    timeout: float | None = None,  # noqa: ASYNC109 - what is tested is that it is kept
    task: Task | None = None,
) -> TaskRun:
    """Runs one attempt of a task through `handler`, a function decorated with `@task`.

    What a worker does is done: the payload is read into the model, sync functions run in a thread, the time is limited
    (`timeout` in seconds; default: the decorator's, else 5 minutes), the result must be JSON, and errors are judged by
    the rules for the `attempt`-th of `max_attempts` attempts. Pass `task` for one with certain fields; `payload` then
    comes from there.

    Raises:
        TypeError: `handler` is not decorated, or `payload` is not JSON.
    """
    with HandlerThreads(1) as threads:
        recorder = _Recorder(_handler(handler, threads), timeout=timeout)
        task = task or Task.new(
            type=recorder.handler.type,
            payload=json.loads(json.dumps(payload or {})),
            max_retries=max_attempts - 1,
        )
        runner = Runner(
            handlers={task.type: recorder.handler},
            reporter=recorder,
            events=EventPublisher(recorder.post, redactor=Redactor()),
            journal=recorder,
            redactor=Redactor(),
            backoff=_NO_JITTER,
            task_timeout=300.0,
            max_attempts=max_attempts,
            version="test",
            pod_name="test",
        )
        running = RunningTask(_claim(task, attempt), math.inf, recorder.handler, task.type)
        running.job = asyncio.create_task(runner.run(running))
        await running.job
    return recorder.run()


def _handler(handler: Callable[..., Any] | TaskHandler, threads: HandlerThreads) -> TaskHandler:
    if isinstance(handler, TaskHandler):
        return handler
    definition = definition_of(handler)
    if definition is None:
        name = getattr(handler, "__qualname__", handler)
        raise TypeError(f'{name} is not decorated: put @task("its type") above it')
    return definition.handler(threads)


def _claim(task: Task, attempt: int) -> Claim:
    lease = Lease(task_id=task.task_id, owner="test", fence=1, attempt=attempt, crashes=0)
    return Claim(task=task, lease=lease, data=task.encode())


@dataclass(slots=True)
class _Recorder:
    """Keeps what a worker would send to Redis, and the outcome."""

    original: TaskHandler
    timeout: float | None
    events: list[Event] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    logs: structlog.testing.LogCapture = field(default_factory=structlog.testing.LogCapture)
    outcome: Outcome | None = None
    seconds: float = 0.0
    exception: Exception | None = None

    @property
    def handler(self) -> TaskHandler:
        timeout = self.original.timeout if self.timeout is None else self.timeout
        return replace(self.original, run=self._run, timeout=timeout)

    async def _run(self, context: TaskContext) -> Mapping[str, Any] | None:
        log = structlog.wrap_logger(None, processors=[self.logs])
        return await self.original.run(
            replace(context, log=log, report_progress=self._report_progress)
        )

    def _report_progress(self, fraction: float | None, message: str) -> None:
        self.progress.append(Progress(fraction=fraction, message=message))

    def started(self, running: RunningTask) -> None:
        """Nothing to note: see `Journal`."""

    def raised(self, error: Exception) -> None:
        self.exception = error

    def handler_ended(self, running: RunningTask, seconds: float) -> None:
        """Nothing to note: see `Journal`."""

    def post(self, event: Event) -> None:
        self.events.append(event)

    def report(self, _running: RunningTask, outcome: Outcome, *, seconds: float) -> None:
        self.outcome, self.seconds = outcome, seconds

    def run(self) -> TaskRun:
        record: dict[str, Any] = {
            "seconds": self.seconds,
            "exception": self.exception,
            "events": [
                event for event in self.events if event.event_type != EventType.TASK_STARTED
            ],
            "progress": self.progress,
            "logs": self.logs.entries,
        }
        match self.outcome:
            case Completed(result):
                return TaskRun(outcome="completed", result=result, **record)
            case Failed(error, error_class):
                return TaskRun(outcome="failed", error=error, error_class=error_class, **record)
            case Retry(error, _, delay, error_class):
                return TaskRun(
                    outcome="retry",
                    error=error,
                    error_class=error_class,
                    retry_after=delay or None,
                    **record,
                )
            case None | Cancelled() | HandBack() | LeaseLost():
                raise RuntimeError("the attempt was interrupted from outside")
            case _:
                assert_never(self.outcome)
