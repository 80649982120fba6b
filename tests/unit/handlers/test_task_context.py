"""What a handler can do with its context, seen through the test harness."""

import asyncio
import math
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from structlog import get_logger
from structlog.contextvars import bound_contextvars, get_contextvars

from opsagent_queue import EventPriority, EventType, Task
from opsagent_worker import PermanentError, RetryableError, TaskContext, task
from opsagent_worker.handlers.context import TaskHandler
from opsagent_worker.handlers.definition import definition_of
from opsagent_worker.outcome import TaskTimeoutError
from opsagent_worker.testing import Progress, run_task
from opsagent_worker.threads import HandlerThreads


async def to_nobody(*_arguments: Any, **_named: Any) -> None:
    """Takes events."""


def context(**fields: Any) -> TaskContext:
    about = Task.new(type="t", payload={})
    return TaskContext(task=about, attempt=1, emit=to_nobody, log=get_logger(), **fields)


@pytest.mark.parametrize("after", [90, 90.0, "1m30s", timedelta(seconds=90)])
async def test_a_retry_waits_as_long_as_it_was_told(after: Any) -> None:
    @task("t")
    async def busy(context: TaskContext) -> None:
        context.retry(after=after, reason="the shop is closed")

    run = await run_task(busy)

    assert (run.outcome, run.error, run.retry_after) == ("retry", "the shop is closed", 90.0)
    assert run.error_class == "RetryableError"


async def test_the_last_attempt_is_not_tried_again() -> None:
    @task("t")
    def busy(context: TaskContext) -> None:
        context.retry(reason="the shop is closed")

    first, last = await run_task(busy), await run_task(busy, attempt=3, max_attempts=3)

    assert (first.outcome, first.retry_after) == ("retry", None)
    assert (last.outcome, last.error) == (
        "failed",
        "gave up after 3 attempts: the shop is closed",
    )


async def test_a_permanent_failure_is_not_tried_again() -> None:
    @task("t")
    def refuse(context: TaskContext) -> None:
        context.fail_permanently("no such customer")

    run = await run_task(refuse)
    assert (run.outcome, run.error, run.error_class) == (
        "failed",
        "no such customer",
        "PermanentError",
    )


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PermanentError("x"), "failed"),
        (RetryableError("x"), "retry"),
        (KeyError("x"), "retry"),
        (SystemExit(1), "retry"),
        (asyncio.CancelledError(), "retry"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_whatever_a_handler_raises_is_judged(
    error: BaseException, outcome: str, kind: str
) -> None:
    def raise_it() -> None:
        raise error

    async def raise_it_async() -> None:
        raise error

    run = await run_task(task("t")(raise_it if kind == "sync" else raise_it_async))
    assert run.outcome == outcome


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_events_progress_and_logs_are_recorded(kind: str) -> None:
    @task("t")
    async def tell(context: TaskContext) -> None:
        context.progress(0.5, "half")
        context.log.info("working", step=1)
        await context.emit(EventType.HEALTH_DEGRADED, {"a": 1}, priority=EventPriority.HIGH)
        context.progress(message="unknown")

    @task("t")
    def tell_from_a_thread(context: TaskContext) -> None:
        context.progress(0.5, "half")
        context.log.info("working", step=1)
        _ = context.emit(EventType.HEALTH_DEGRADED, {"a": 1}, priority=EventPriority.HIGH)
        context.progress(message="unknown")

    run = await run_task(tell if kind == "async" else tell_from_a_thread)

    assert run.outcome == "completed"
    assert [(event.event_type, event.payload, event.priority) for event in run.events] == [
        ("health.degraded", {"a": 1}, "high")
    ]
    assert run.progress == [
        Progress(fraction=0.5, message="half"),
        Progress(fraction=None, message="unknown"),
    ]
    assert run.logs == [{"event": "working", "log_level": "info", "step": 1}]


async def test_an_event_sent_from_a_thread_can_be_awaited_all_the_same() -> None:
    async def send(context: TaskContext) -> None:
        await context.emit(EventType.HEALTH_DEGRADED, {})

    @task("t")
    def from_a_thread(context: TaskContext) -> None:
        asyncio.run(send(context))

    assert len((await run_task(from_a_thread)).events) == 1


async def test_a_fraction_outside_of_what_is_possible_is_corrected() -> None:
    @task("t")
    async def tell(context: TaskContext) -> None:
        for fraction in (-1.0, 7.0, math.nan):
            context.progress(fraction)

    assert [note.fraction for note in (await run_task(tell)).progress] == [0.0, 1.0, None]


async def test_the_idempotency_key_is_the_same_for_every_attempt_and_another_for_each_task() -> (
    None
):
    @task("t")
    def key(context: TaskContext) -> dict[str, Any]:
        return {"key": context.idempotency_key}

    one = Task.new(type="t", payload={})
    runs = [await run_task(key, task=one), await run_task(key, task=one, attempt=2)]
    other = await run_task(key)

    assert runs[0].result == runs[1].result == {"key": one.task_id}
    assert other.result != runs[0].result


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_attempt_that_takes_too_long_is_tried_again(kind: str) -> None:
    seen: dict[str, float] = {}

    @task("t", timeout="50ms")
    async def slow(context: TaskContext) -> None:
        seen["remaining"] = context.remaining()
        await asyncio.Event().wait()

    @task("t", timeout="50ms")
    def slow_in_a_thread(context: TaskContext) -> dict[str, Any]:
        seen["remaining"] = context.remaining()
        while not context.cancelled:
            time.sleep(0.001)
        assert context.remaining() == 0
        return {"late": True}

    run = await run_task(slow if kind == "async" else slow_in_a_thread)

    assert (run.outcome, run.result) == ("retry", None)
    assert str(run.error).startswith("took longer than ")
    assert 0 <= seen["remaining"] <= 0.05


async def test_a_thread_that_sees_first_that_its_time_is_over_has_not_completed() -> None:
    @task("t")
    def slow(context: TaskContext) -> dict[str, Any]:
        while context.remaining():
            time.sleep(0.001)
        return {"half": "done"}

    definition = definition_of(slow)
    assert definition is not None
    with HandlerThreads(1) as threads, pytest.raises(TaskTimeoutError):
        # Nothing else limits its time here.
        await definition.handler(threads).run(context(deadline=time.monotonic() + 0.01))


async def test_a_thread_that_looks_after_itself_ends_where_it_checks() -> None:
    steps = []

    @task("t")
    def slow(context: TaskContext) -> None:
        try:
            while True:
                try:
                    context.check()
                except Exception:  # noqa: BLE001 - what handlers do, and what must not keep them running
                    steps.append("swallowed")
                time.sleep(0.001)
        finally:
            steps.append("cleaned up")

    run = await run_task(slow, timeout=0.02)

    assert (run.outcome, run.error_class) == ("retry", "TaskTimeoutError")
    assert steps == ["cleaned up"]


async def test_a_sync_handler_runs_in_a_thread_and_sees_the_callers_contextvars() -> None:
    @task("t")
    def where() -> dict[str, Any]:
        return {"thread": threading.get_ident(), "bound": get_contextvars()}

    with bound_contextvars(order="o-1"):
        run = await run_task(where)

    assert run.result is not None
    assert run.result["thread"] != threading.get_ident()
    assert run.result["bound"] == {"order": "o-1"}


async def test_a_result_that_is_not_json_fails_the_task() -> None:
    @task("t")
    def resize() -> dict[str, Any]:
        return {"at": object()}

    run = await run_task(resize)
    assert run.outcome == "failed"
    assert "result is not JSON" in str(run.error)


async def test_the_harness_takes_any_handler_and_refuses_what_is_none() -> None:
    async def run(context: TaskContext) -> dict[str, Any]:
        return {"type": context.task.type}

    assert (await run_task(TaskHandler(type="t", run=run))).result == {"type": "t"}
    with pytest.raises(TypeError, match=r'run is not decorated: put @task\("its type"\) above it'):
        await run_task(run)
    with pytest.raises(TypeError, match="not JSON serializable"):
        await run_task(TaskHandler(type="t", run=run), payload={"at": object()})
