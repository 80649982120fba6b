"""Every constraint of the API accepts what it should and refuses the rest, on a real API server.

The constraints are listed in `table.py`; `test_the_table_covers_every_constraint_of_the_schema` keeps that complete.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from integration.api.kinds import ABSENT, KEYWORD_MESSAGES, Constraint
from integration.api.objects import worker_with
from integration.api.server import Api
from integration.api.table import CONSTRAINTS
from opsagent_operator.api.crd import custom_resource_definition
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec

pytestmark = pytest.mark.integration


def cases(which: str) -> list[Any]:
    return [
        pytest.param(constraint, value, id=f"{constraint.sentence}: {_brief(value)}")
        for constraint in CONSTRAINTS
        for value in getattr(constraint, which)
    ]


def _brief(value: Any) -> str:
    text = "absent" if value is ABSENT else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@pytest.mark.parametrize(("constraint", "value"), cases("accepts"))
def test_accepts(api: Api, constraint: Constraint, value: Any) -> None:
    """The API server accepts the value, and so does the operator's model, with the same defaults."""
    worker = worker_with(constraint.field, value)

    stored = api.admitted(worker)

    asked_for = OpsAgentWorkerSpec.model_validate(worker["spec"])
    assert OpsAgentWorkerSpec.model_validate(stored["spec"]) == asked_for


@pytest.mark.parametrize(("constraint", "value"), cases("refuses"))
def test_refuses(api: Api, constraint: Constraint, value: Any) -> None:
    """The API server refuses the value and says why, where it stands."""
    refusals = api.refusals(worker_with(constraint.field, value))

    said = [refusal.message for refusal in refusals if _same(constraint.field, refusal.field)]
    assert any(constraint.says in message for message in said), refusals


def _same(schema_path: str, reported: str) -> bool:
    """Whether `reported`, with its indexes and keys, is one of `schema_path`, or an item of the list there."""
    pattern = re.escape(schema_path).replace(r"\[\]", r"\[\d+\]").replace(r"\{\}", r"[.\[]key\]?")
    return re.fullmatch(rf"{pattern}(\[\d+\])?", reported) is not None


def test_the_table_covers_every_constraint_of_the_schema() -> None:
    version_schema = custom_resource_definition()["spec"]["versions"][0]["schema"]
    spec = version_schema["openAPIV3Schema"]["properties"]["spec"]
    covered = {(constraint.field, constraint.says) for constraint in CONSTRAINTS}

    uncovered = [
        (field, message)
        for field, message in _constraints("spec", spec)
        if not any(field == path and says in message for path, says in covered)
    ]

    assert uncovered == []


def _constraints(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Field and message of every constraint at and below `node`."""
    for keyword in ("minimum", "maximum", "maxLength", "maxItems", "maxProperties", "enum"):
        if keyword in node:
            yield path, KEYWORD_MESSAGES[keyword]
    if node.get("x-kubernetes-list-type") in {"set", "map"}:
        yield path, KEYWORD_MESSAGES["unique"]
    for rule in node.get("x-kubernetes-validations", []):
        yield path, rule["message"]
    for name in node.get("required", []):
        yield f"{path}.{name}", KEYWORD_MESSAGES["required"]
    for name, child in node.get("properties", {}).items():
        yield from _constraints(f"{path}.{name}", child)
    for keyword, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in node:
            yield from _constraints(path + suffix, node[keyword])


@pytest.mark.parametrize("name", ["o", "ops-agent", "o" * 35, "ops2"])
def test_an_object_may_have_a_name_from_which_pod_names_can_be_made(api: Api, name: str) -> None:
    assert api.admitted(worker_with("spec.version", "v1", name=name))["metadata"]["name"] == name


@pytest.mark.parametrize("name", ["o" * 36, "2ops", "ops.agent"])
def test_an_object_may_not_have_a_name_that_its_children_cannot_carry(api: Api, name: str) -> None:
    refusals = api.refusals(worker_with("spec.version", "v1", name=name))

    assert ["metadata.name must have at most 35 characters" in r.message for r in refusals] == [
        True
    ]
