"""The tables of docs/api.md, from the same schema that `kubectl explain` shows."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from opsagent_operator.api import step
from opsagent_operator.api.crd import spec_schema, status_schema

BEGIN: Final = "<!-- generated from the API models: begin -->"
END: Final = "<!-- generated from the API models: end -->"


def with_reference(document: str) -> str:
    """`document` with everything between its two marks replaced by the tables.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no place for the tables: it needs {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{_tables()}\n{END}{after}"


def _tables() -> str:
    sections = [
        _section("spec", spec_schema()),
        _section("status", status_schema()),
    ]
    return "\n".join(sections)


def _section(path: str, schema: Mapping[str, Any]) -> str:
    rows = [
        f"| `{name}` | {_type(node)} | {_default(node, required=required)} | {_meaning(node)} |"
        for name, node, required in _fields(path, schema)
    ]
    header = ["| field | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"### {path}", "", *header, *rows, ""])


def _fields(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Every field below `path`, parents first, with whether it is required."""
    for name, node in schema["properties"].items():
        field = f"{path}.{name}"
        yield field, node, name in schema.get("required", [])
        if "properties" in node:
            yield from _fields(field, node)
        elif "properties" in node.get("items", {}):
            yield from _fields(f"{field}[]", node["items"])


def _type(node: Mapping[str, Any]) -> str:
    match node:
        case {"x-kubernetes-int-or-string": True, "maxLength": step.MAX_LENGTH}:
            text = "integer or percentage"
        case {"x-kubernetes-int-or-string": True}:
            text = "quantity"
        case {"items": item}:
            text = f"list of {_type(item)}"
        case {"additionalProperties": value}:
            text = f"map to {_type(value)}"
        case {"enum": values}:
            text = " \\| ".join(f"`{value}`" for value in values)
        case {"format": "date-time"}:
            text = "time"
        case {"type": "integer", "minimum": low, "maximum": high}:
            text = f"integer, {low} to {high}"
        case _:
            text = node["type"]
    return text


def _default(node: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    if "default" not in node or "properties" in node:
        return ""
    default = node["default"]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _meaning(node: Mapping[str, Any]) -> str:
    rules = [rule["message"] for rule in node.get("x-kubernetes-validations", ())]
    sentences = [node["description"], *(f"*{_capitalized(rule)}.*" for rule in rules)]
    return re.sub(r"\s+", " ", " ".join(sentences)).replace("|", "\\|")


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]
