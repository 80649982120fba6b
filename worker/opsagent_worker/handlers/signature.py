"""Reads from a function's annotations what a handler wants to be called with."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, get_origin, get_type_hints

from pydantic import BaseModel

from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import read_payload

_HOW: Final = (
    "write it as `async def {name}(payload: Model, context: TaskContext) -> dict[str, Any]`, where Model is a pydantic "
    "model or dict[str, Any], and either parameter may be left out"
)
_NOT_RESULTS: Final = (str, bytes, bool, int, float, list, tuple, set, frozenset)
_MAPPINGS: Final = (dict, Mapping)
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class HandlerDefinitionError(TypeError):
    """A function cannot be a handler as it is written; the message says what to write."""


@dataclass(frozen=True, slots=True)
class _Payload:
    parameter: str
    model: type[BaseModel] | None
    """None: the payload as it is."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a function wants to be called with; None: it has no such parameter."""

    payload: _Payload | None
    context: str | None

    def bind(self, function: Callable[..., Any], context: TaskContext) -> Callable[[], Any]:
        """The call for this attempt.

        Raises:
            PermanentError: the payload does not fit the model.
        """
        arguments: dict[str, Any] = {}
        if self.payload is not None:
            model, task = self.payload.model, context.task
            arguments[self.payload.parameter] = (
                dict(task.payload) if model is None else read_payload(model, task)
            )
        if self.context is not None:
            arguments[self.context] = context
        return partial(function, **arguments)


def read_signature(function: Callable[..., Any]) -> Arguments:
    """Tells the parameters apart by their annotations. Others that have a default keep it.

    Raises:
        HandlerDefinitionError: some parameter is unclear, or the result cannot be one.
    """
    if not inspect.isfunction(function):
        kind = "class" if isinstance(function, type) else type(function).__name__
        raise HandlerDefinitionError(f"@task goes above a function, not above a {kind}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _wrong(function, "yields, but a handler returns its result once")
    hints = _hints(function)
    if (returned := hints.get("return")) in _NOT_RESULTS or get_origin(returned) in _NOT_RESULTS:
        raise _wrong(function, "must return a dict, a pydantic model or None")
    payloads: list[_Payload] = []
    contexts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        match _role(function, parameter, hints.get(parameter.name)):
            case _Payload() as payload:
                payloads.append(payload)
            case str() as name:
                contexts.append(name)
    for what, found in (("payload", payloads), ("context", contexts)):
        if len(found) > 1:
            raise _wrong(function, f"asks for the {what} twice")
    return Arguments(next(iter(payloads), None), next(iter(contexts), None))


def _role(
    function: Callable[..., Any], parameter: inspect.Parameter, hint: Any
) -> _Payload | str | None:
    """Whether a parameter is for the payload, for the context (then its name), or keeps its default."""
    name = parameter.name
    if parameter.kind in _VARIADIC:
        raise _wrong(function, f"has a parameter *{name}, which nothing is given to")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise _wrong(function, f"takes {name!r} by position only: leave out the /")
    if hint is TaskContext:
        return name
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _Payload(name, hint)
    if hint in _MAPPINGS or get_origin(hint) in _MAPPINGS:
        return _Payload(name, None)
    if parameter.default is inspect.Parameter.empty:
        raise _wrong(function, f"has a parameter {name!r} that is {_called(hint)}")
    return None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, AttributeError, TypeError) as error:
        raise _wrong(
            function,
            f"has an annotation that cannot be read here ({error}): define or import what it names in the module itself, "
            "not inside a function or under `if TYPE_CHECKING`",
        ) from None


def _called(hint: Any) -> str:
    if hint is None:
        return "not annotated"
    name = getattr(hint, "__name__", hint)
    return f"annotated with {name}, which is neither a payload nor TaskContext"


def _wrong(function: Callable[..., Any], what: str) -> HandlerDefinitionError:
    name = function.__name__
    return HandlerDefinitionError(f"{function.__module__}.{name} {what}; {_HOW.format(name=name)}")
