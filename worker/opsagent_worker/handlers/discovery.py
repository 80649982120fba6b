"""Finds the handlers that users bring: in the modules they name, and in what installed packages offer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import isfunction
from types import ModuleType
from typing import Final

from opsagent_worker.handlers.definition import HandlerDefinition, definition_of
from opsagent_worker.handlers.signature import HandlerDefinitionError

GROUP: Final = "opsagent_worker.handlers"
"""Entry points of this group name a module with handlers (`shop.tasks`) or a single one (`shop.tasks:resize`)."""

_WHERE: Final = "Modules are found on PYTHONPATH (in the image: /app/handlers) and among packages"


@dataclass(frozen=True, slots=True)
class Discovered:
    """Task type → handler, and one sentence for each thing that keeps the worker from starting."""

    handlers: Mapping[str, HandlerDefinition]
    problems: Sequence[str]


def discover(modules: Sequence[str]) -> Discovered:
    """Imports `modules` and every entry point of `GROUP`, and collects the functions decorated with `@task`.

    A module counts with what its namespace holds, be it defined there or imported from elsewhere.
    """
    handlers: dict[str, HandlerDefinition] = {}
    problems: list[str] = []
    sources: list[tuple[str, str | EntryPoint]] = [
        *((f"WORKER_HANDLERS: module {module!r}", module) for module in modules),
        *((f"entry point {point.name!r} ({point.value})", point) for point in _entry_points()),
    ]
    for label, source in sources:
        try:
            found = _definitions(source)
        except HandlerDefinitionError as error:
            problems.append(f"{label}: {error}")
        except ModuleNotFoundError as error:
            problems.append(f"{label} cannot be imported: {error}. {_WHERE}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - importing runs somebody else's code
            problems.append(f"{label} cannot be imported: {type(error).__name__}: {error}")
        else:
            if not found:
                problems.append(f"{label} has no function that is decorated with @task")
            for definition in found:
                other = handlers.setdefault(definition.type, definition)
                if other.function is not definition.function:
                    problems.append(
                        f"{label}: {definition.name} and {other.name} both handle tasks of type "
                        f"{definition.type!r}: keep one of them"
                    )
    return Discovered(handlers, problems)


def _entry_points() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))


def _definitions(source: str | EntryPoint) -> list[HandlerDefinition]:
    loaded = import_module(source) if isinstance(source, str) else source.load()
    candidates = vars(loaded).values() if isinstance(loaded, ModuleType) else [loaded]
    # One function may have several names in a module.
    found = {id(value): definition_of(value) for value in candidates if isfunction(value)}
    return [definition for definition in found.values() if definition is not None]
