"""Whether a live object already is as a manifest wants it. Pure functions.

The API server adds defaults, other controllers and people add fields of their own: a manifest holds
if everything *in it* is in the live object.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

__all__ = ["differences"]

_QUANTITIES: Final = frozenset({"limits", "requests"})
"""Maps whose values are quantities: `1` and `1000m` are the same."""


def differences(live: Any, desired: Any, *, path: str = "") -> Iterator[str]:
    """Paths of what `desired` says and `live` does not, such as `spec.replicas`."""
    match live, desired:
        case _ if live == desired:
            return
        case Mapping(), Mapping():
            yield from _map_differences(live, desired, path=path)
        case list(), list() if _is_named(live) and _is_named(desired):
            yield from _named_differences(live, desired, path=path)
        case list(), list() if len(live) == len(desired):
            for index, (left, right) in enumerate(zip(live, desired, strict=True)):
                yield from differences(left, right, path=f"{path}[{index}]")
        case None, _ if not desired:
            return  # Kubernetes leaves out what is empty, zero or false
        case _:
            yield path


def _map_differences(
    live: Mapping[str, Any], desired: Mapping[str, Any], *, path: str
) -> Iterator[str]:
    for key, value in desired.items():
        below = f"{path}.{key}" if path else key
        if key in _QUANTITIES and isinstance(value, Mapping):
            yield from _quantity_differences(live.get(key) or {}, value, path=below)
        else:
            yield from differences(live.get(key), value, path=below)


def _quantity_differences(
    live: Mapping[str, Any], desired: Mapping[str, Any], *, path: str
) -> Iterator[str]:
    for name, quantity in desired.items():
        if name not in live or _amount(live[name]) != _amount(quantity):
            yield f"{path}.{name}"


def _amount(quantity: str | float) -> Decimal | str | float:
    try:
        return Decimal(parse_quantity(quantity))  # type: ignore[no-untyped-call] # not annotated there
    except ValueError:
        return quantity


def _is_named(items: Sequence[Any]) -> bool:
    """Whether the items are told apart by their names, as containers and variables are.

    Volume mounts have names, too, but one volume may be mounted twice: those go by position.
    """
    names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    return bool(names) and None not in names and len(set(names)) == len(names)


def _named_differences(
    live: Sequence[Mapping[str, Any]], desired: Sequence[Mapping[str, Any]], *, path: str
) -> Iterator[str]:
    by_name = {item["name"]: item for item in live}
    for item in desired:
        name = item["name"]
        if name in by_name:
            yield from differences(by_name[name], item, path=f"{path}[{name}]")
        else:
            yield f"{path}[{name}]"
