"""docs/handlers-builtin.md knows every field a payload may have, and every rule of an investigation."""

import re
from pathlib import Path

import pytest

from opsagent_worker.handlers.alert import AlertPayload
from opsagent_worker.handlers.investigate import InvestigatePayload
from opsagent_worker.handlers.monitor import MonitorPayload
from opsagent_worker.handlers.payload import Payload
from opsagent_worker.investigation.rules import RULES

DOCUMENT = Path(__file__).parents[3] / "docs" / "handlers-builtin.md"


def section(title: str) -> str:
    found = re.search(
        rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None
    return found[1]


def first_column(table: str, *, heading: str) -> set[str]:
    """The names in the first column of the table whose first heading is `heading`."""
    rows = table.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    ("title", "model"),
    [("monitor", MonitorPayload), ("alert", AlertPayload), ("investigate", InvestigatePayload)],
)
def test_every_field_of_a_payload_is_documented(title: str, model: type[Payload]) -> None:
    assert first_column(section(title), heading="payload") == set(model.model_fields)


def test_every_rule_of_an_investigation_is_documented() -> None:
    rules = {rule.__name__ for rule in RULES}

    assert first_column(section("investigate"), heading="rule") == rules
