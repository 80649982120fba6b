"""`@task`: makes a plain function the handler of a type of task (docs/handlers.md)."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from opsagent_queue import EventPriority, EventType
from opsagent_worker.durations import parse_duration
from opsagent_worker.errors import PermanentError, TaskCancelledError
from opsagent_worker.handlers.context import Emit, TaskContext, TaskHandler
from opsagent_worker.handlers.signature import (
    Arguments,
    HandlerDefinitionError,
    read_signature,
)
from opsagent_worker.outcome import TaskTimeoutError
from opsagent_worker.threads import HandlerThreads

Result = Mapping[str, Any] | BaseModel | None
"""What a handler may return: it becomes the task's `metadata.result`."""

F = TypeVar("F", bound=Callable[..., Result | Awaitable[Result]])

_ATTRIBUTE: Final = "__opsagent_task__"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerDefinition:
    """A decorated function and what the decorator was told."""

    type: str
    function: Callable[..., Any]
    arguments: Arguments
    timeout: float | None
    """Seconds."""
    concurrency: int | None

    @property
    def name(self) -> str:
        """Where the function is, for people: `module.function`."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def handler(self, threads: HandlerThreads) -> TaskHandler:
        """The handler that runs the function: in the event loop if it is async, else in one of `threads`."""
        call = self._in_loop
        if not inspect.iscoroutinefunction(self.function):
            call = partial(self._in_thread, threads)

        async def run(context: TaskContext) -> Mapping[str, Any] | None:
            try:
                return self._checked(await call(context))
            except TaskCancelledError:
                # Called off from outside it would have been cancelled (HandlerThreads.run): the time was over.
                raise TaskTimeoutError("took longer than it may") from None

        return TaskHandler(
            type=self.type, run=run, timeout=self.timeout, concurrency=self.concurrency
        )

    async def _in_loop(self, context: TaskContext) -> Any:
        return await self.arguments.bind(self.function, context)()

    async def _in_thread(self, threads: HandlerThreads, context: TaskContext) -> Any:
        called_off = Event()
        inside = replace(
            context, emit=_emit_from_thread(context.emit), is_cancelled=called_off.is_set
        )
        call = self.arguments.bind(self.function, inside)
        result = await threads.run(call, call_off=called_off.set)
        if not context.remaining():
            # It may have stopped half-way because it saw that before the event loop did.
            raise TaskCancelledError
        return result

    def _checked(self, result: Any) -> Mapping[str, Any] | None:
        match result:
            case None | Mapping():
                return result
            case BaseModel():
                return result.model_dump(mode="json")
        if inspect.iscoroutine(result):
            result.close()
            raise PermanentError(
                f"{self.name} returned a coroutine: the decorator around it hides that it is async; "
                "make the decorator's inner function `async def` and `await` there"
            )
        raise PermanentError(
            f"{self.name} returned {type(result).__name__}: return a dict, a pydantic model or None"
        )


def task(
    task_type: str,
    /,
    *,
    timeout: float | str | timedelta | None = None,
    concurrency: int | None = None,
) -> Callable[[F], F]:
    """Make a function the handler of tasks of `task_type`. The function itself stays what it is.

    It may be async or sync (sync ones run in threads), and takes, told apart by their annotations, the payload (a
    pydantic model, or `dict[str, Any]`) and the `TaskContext`, both optional. It returns a mapping that is JSON, a
    pydantic model, or None.

    `timeout` is what one attempt may take: seconds, or `90s`, `5m`; default: OPSAGENT_TASK_TIMEOUT. `concurrency` is how
    many of these tasks one worker runs at once; default: as many as it has slots.

    Raises:
        HandlerDefinitionError: some argument, or the function's signature, is wrong.
    """
    _check_arguments(task_type, concurrency)
    seconds = _seconds(task_type, timeout)

    def define(function: F) -> F:
        if hasattr(function, _ATTRIBUTE):
            raise HandlerDefinitionError(
                f"{function.__qualname__} has two @task decorators: write a function for each type"
            )
        definition = HandlerDefinition(
            type=str(task_type),
            function=function,
            arguments=read_signature(function),
            timeout=seconds,
            concurrency=concurrency,
        )
        setattr(function, _ATTRIBUTE, definition)
        return function

    return define


def definition_of(value: object) -> HandlerDefinition | None:
    """What `@task` was told about `value`; None if it is not decorated.

    Raises:
        HandlerDefinitionError: another decorator hides the function from `@task`.
    """
    found = getattr(value, _ATTRIBUTE, None)
    if not isinstance(found, HandlerDefinition):
        return None
    if found.function is not value:
        raise HandlerDefinitionError(
            f"{found.name} has a decorator above @task, which would never run: put @task on top"
        )
    return found


def _check_arguments(task_type: Any, concurrency: Any) -> None:
    if not isinstance(task_type, str) or not task_type.strip():
        raise HandlerDefinitionError('name the type of task: @task("resize")')
    if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
        raise HandlerDefinitionError(
            f"concurrency of @task({task_type!r}) must be a whole number from 1, not {concurrency!r}"
        )


def _seconds(task_type: str, timeout: float | str | timedelta | None) -> float | None:
    if timeout is None:
        return None
    try:
        if isinstance(timeout, int | float):
            seconds = float(timeout)
        else:
            seconds = parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise HandlerDefinitionError(f"timeout of @task({task_type!r}): {error}") from None
    if not 0 < seconds < math.inf:
        raise HandlerDefinitionError(f"timeout of @task({task_type!r}) must be longer than nothing")
    return seconds


class _Published:
    """The awaitable of something that is already over."""

    def __await__(self) -> Any:
        return iter(())


def _emit_from_thread(emit: Emit) -> Emit:
    """`emit` for a thread: publishes in the event loop, which this is called in, and returns when that is done."""
    loop = asyncio.get_running_loop()

    def emit_and_wait(
        event_type: EventType,
        payload: Mapping[str, Any],
        *,
        priority: EventPriority = EventPriority.MEDIUM,
    ) -> Awaitable[None]:
        async def publish() -> None:
            await emit(event_type, payload, priority=priority)

        asyncio.run_coroutine_threadsafe(publish(), loop).result()
        return _Published()

    return emit_and_wait
