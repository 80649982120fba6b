"""`@task`: what it makes of a function, and how it refuses what cannot be a handler."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any

import pytest
from pydantic import BaseModel, Field

from opsagent_queue import Task
from opsagent_worker import HandlerDefinitionError, PermanentError, TaskContext, task
from opsagent_worker.handlers.definition import HandlerDefinition, definition_of
from opsagent_worker.testing import run_task


class Resize(BaseModel):
    url: str
    width: int = Field(default=800, gt=0)


class Resized(BaseModel):
    url: str
    took: timedelta


def defined(function: Callable[..., Any]) -> HandlerDefinition:
    definition = definition_of(function)
    assert definition is not None
    return definition


def test_a_decorated_function_stays_what_it_is() -> None:
    def resize(payload: Resize) -> dict[str, Any]:
        return {"width": payload.width}

    assert task("resize")(resize) is resize
    assert resize(Resize(url="x", width=3)) == {"width": 3}


def test_the_decorator_reads_its_arguments() -> None:
    @task("resize", timeout="1m30s", concurrency=2)
    async def resize() -> None: ...

    definition = defined(resize)
    assert (definition.type, definition.timeout, definition.concurrency) == ("resize", 90.0, 2)
    assert definition.name.endswith("resize")


@pytest.mark.parametrize("timeout", ["90s", 90, 90.0, timedelta(seconds=90)])
def test_a_timeout_may_be_written_in_several_ways(timeout: Any) -> None:
    @task("resize", timeout=timeout)
    async def resize() -> None: ...

    assert defined(resize).timeout == 90.0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"timeout": "soon"}, "'soon' is not a duration such as 500ms, 30s"),
        ({"timeout": 0}, "must be longer than nothing"),
        ({"timeout": float("nan")}, "must be longer than nothing"),
        ({"concurrency": 0}, "must be a whole number from 1, not 0"),
        ({"concurrency": "4"}, "must be a whole number from 1, not '4'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(HandlerDefinitionError, match=r"@task\('resize'\)") as caught:
        task("resize", **arguments)
    assert why in str(caught.value)


def test_a_decorator_without_its_type_is_refused() -> None:
    def resize() -> None: ...

    with pytest.raises(HandlerDefinitionError, match=r'name the type of task: @task\("resize"\)'):
        task(resize)  # type: ignore[arg-type] # what the test is about


# What handlers are written like.


@task("t")
async def asks_for_both(payload: Resize, context: TaskContext) -> Mapping[str, Any]:
    return {"payload": payload.model_dump(), "attempt": context.attempt}


@task("t")
def asks_in_another_order(ctx: TaskContext, *, data: Resize) -> dict[str, Any]:
    return {"payload": data.model_dump(), "attempt": ctx.attempt}


@task("t")
async def asks_for_the_raw_payload(
    payload: dict[str, Any], context: TaskContext, extra: int = 7
) -> dict[str, Any]:
    assert extra == 7
    return {"payload": {"width": 800, **payload}, "attempt": context.attempt}


@pytest.mark.parametrize(
    "handler", [asks_for_both, asks_in_another_order, asks_for_the_raw_payload]
)
async def test_parameters_are_told_apart_by_their_annotations(handler: Callable[..., Any]) -> None:
    run = await run_task(handler, payload={"url": "http://img"}, attempt=2)

    assert run.outcome == "completed"
    assert run.result == {"payload": {"url": "http://img", "width": 800}, "attempt": 2}


async def test_a_function_may_ask_for_nothing_and_return_nothing() -> None:
    @task("t")
    def tick() -> None: ...

    run = await run_task(tick)
    assert (run.outcome, run.result) == ("completed", None)


async def test_a_model_that_is_returned_becomes_json() -> None:
    @task("t")
    def resize() -> Resized:
        return Resized(url="http://img", took=timedelta(seconds=2))

    assert (await run_task(resize)).result == {"url": "http://img", "took": "PT2S"}


@pytest.mark.parametrize("result", ["done", ["a"], 5])
async def test_any_other_result_fails_the_task_and_says_what_to_return(result: Any) -> None:
    @task("t")
    def resize():  # type: ignore[no-untyped-def] # noqa: ANN202 - nothing tells what it returns
        return result

    run = await run_task(resize)
    assert run.outcome == "failed"
    assert "return a dict, a pydantic model or None" in str(run.error)


async def test_a_payload_that_does_not_fit_fails_the_task_and_names_each_field() -> None:
    run = await run_task(asks_for_both, payload={"width": -1})

    assert run.outcome == "failed"
    assert run.error == (
        "the payload of this t task is wrong: url: Field required; width: Input should be greater than 0"
    )
    assert run.error_class == "PermanentError"


def unclear(payload) -> None: ...  # type: ignore[no-untyped-def] # noqa: ANN001 - that is the point
def a_string(payload: str) -> None: ...
def two_payloads(a: Resize, b: dict[str, Any]) -> None: ...
def two_contexts(a: TaskContext, b: TaskContext) -> None: ...
def variadic(*payloads: Resize) -> None: ...
def positional(payload: Resize, /) -> None: ...
def returns_text() -> str:
    raise AssertionError("never called")


def returns_list() -> list[Any]:
    raise AssertionError("never called")


def yields(payload: Resize) -> Any:
    yield payload


async def yields_async(payload: Resize) -> Any:
    yield payload


def nameless(payload: "NotImported") -> None: ...  # type: ignore[name-defined] # noqa: F821 - that is the point


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (unclear, "has a parameter 'payload' that is not annotated"),
        (a_string, "annotated with str, which is neither a payload nor TaskContext"),
        (two_payloads, "asks for the payload twice"),
        (two_contexts, "asks for the context twice"),
        (variadic, "has a parameter *payloads"),
        (positional, "takes 'payload' by position only: leave out the /"),
        (returns_text, "must return a dict, a pydantic model or None"),
        (returns_list, "must return a dict, a pydantic model or None"),
        (yields, "yields, but a handler returns its result once"),
        (yields_async, "yields, but a handler returns its result once"),
        (nameless, "name 'NotImported' is not defined"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_signature_that_is_unclear_is_refused_with_what_to_write(
    function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(HandlerDefinitionError) as caught:
        task("t")(function)

    assert f"{function.__module__}.{function.__name__} " in str(caught.value)
    assert why in str(caught.value)
    assert f"`async def {function.__name__}(payload: Model, context" in str(caught.value)


def test_what_is_not_a_function_is_refused() -> None:
    with pytest.raises(HandlerDefinitionError, match="goes above a function, not above a class"):
        task("t")(Resize)


def test_a_function_has_one_type() -> None:
    def resize() -> None: ...

    with pytest.raises(HandlerDefinitionError, match="two @task decorators"):
        task("a")(task("b")(resize))


def twice(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        function(*arguments, **named)
        return function(*arguments, **named)

    return wrapper


async def test_other_decorators_go_below() -> None:
    calls = []

    def resize(payload: Resize) -> dict[str, Any]:
        calls.append(payload.url)
        return {}

    assert (await run_task(task("t")(twice(resize)), payload={"url": "a"})).outcome == "completed"
    assert calls == ["a", "a"]


def test_a_decorator_above_that_would_never_run_is_refused() -> None:
    def resize() -> None: ...

    with pytest.raises(HandlerDefinitionError, match="put @task on top"):
        definition_of(twice(task("t")(resize)))


async def test_a_decorator_that_hides_that_a_function_is_async_is_found_out() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            return function(*arguments, **named)

        return wrapper

    @task("t")
    @logged
    async def resize() -> None:
        await asyncio.sleep(0)

    run = await run_task(resize)
    assert run.outcome == "failed"
    assert "make the decorator's inner function `async def`" in str(run.error)


def test_what_is_not_decorated_has_no_definition() -> None:
    assert definition_of(twice) is None
    assert definition_of(Task) is None


def test_errors_can_be_raised_by_name() -> None:
    assert str(PermanentError("no such image")) == "no such image"
