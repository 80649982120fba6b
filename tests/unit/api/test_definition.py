"""The CustomResourceDefinition as text: up to date, complete and bounded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsagent_operator.api import __main__ as command
from opsagent_operator.api.crd import custom_resource_definition, spec_schema, status_schema
from opsagent_operator.api.reference import with_reference

ROOT = Path(__file__).parents[3]
OBJECT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a structural schema with its path, parents first."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    for keyword, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in node:
            yield from nodes(path + suffix, node[keyword])


SPEC = list(nodes("spec", spec_schema()))
STATUS = list(nodes("status", status_schema()))


def test_the_generated_files_are_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    status = command.main(["--check"])

    assert (status, capsys.readouterr().out) == (0, "")


def test_a_stale_file_fails_the_check_with_a_diff_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (command.CRD_PATH, command.CHART_CRD_PATH, command.REFERENCE_PATH):
        copy = tmp_path / path
        copy.parent.mkdir(parents=True)
        copy.write_text((ROOT / path).read_text().replace("maximum: 256", "maximum: 255"))
    monkeypatch.chdir(tmp_path)

    status = command.main(["--check"])

    output = capsys.readouterr()
    assert status == 1
    assert "-                    maximum: 255\n+                    maximum: 256\n" in output.out
    assert "run `make generate`" in output.err


def test_writing_brings_stale_files_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = tmp_path / command.REFERENCE_PATH
    reference.parent.mkdir()
    reference.write_text((ROOT / command.REFERENCE_PATH).read_text().replace("`1m`", "`2m`"))
    monkeypatch.chdir(tmp_path)

    command.main([])

    assert command.main(["--check"]) == 0
    assert (tmp_path / command.CRD_PATH).read_text() == (ROOT / command.CRD_PATH).read_text()


def test_outside_the_repository_the_command_says_where_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit):
        command.main(["--check"])

    assert "run this in the repository's root folder" in capsys.readouterr().err


def test_a_document_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the tables"):
        with_reference("# The API\n")


@pytest.mark.parametrize("field", ["spec.worker.env[].valueFrom", "spec.scaling.scaleDown"])
def test_a_nested_field_is_in_the_definition(field: str) -> None:
    assert field in dict(SPEC)


@pytest.mark.parametrize(
    ("path", "node"),
    [(path, node) for path, node in SPEC + STATUS if not path.endswith(("[]", "{}"))],
)
def test_every_field_has_a_description_of_one_line_a_paragraph(
    path: str, node: dict[str, Any]
) -> None:
    assert node["description"], path
    assert "\n" not in node["description"].replace("\n\n", "")


@pytest.mark.parametrize(
    ("path", "node"),
    # What is handed on to Kubernetes as it is has no rules here.
    [(path, node) for path, node in SPEC if "x-kubernetes-preserve-unknown-fields" not in node],
)
def test_everything_in_spec_is_bounded_so_that_rules_have_a_bounded_cost(
    path: str, node: dict[str, Any]
) -> None:
    match node.get("type", "int-or-string"):
        case "int-or-string":
            assert "maxLength" in node
        case "string":
            assert "maxLength" in node or "enum" in node
        case "array":
            assert "maxItems" in node
            assert node["x-kubernetes-list-type"] in {"atomic", "map", "set"}
        case "object":
            assert "properties" in node or "maxProperties" in node
        case "integer":
            assert "minimum" in node
        case kind:
            assert kind == "boolean", path


@pytest.mark.parametrize(
    ("path", "node"), [(path, node) for path, node in SPEC if "x-kubernetes-validations" in node]
)
def test_every_rule_has_a_message_for_people(path: str, node: dict[str, Any]) -> None:
    for rule in node["x-kubernetes-validations"]:
        assert len(rule["message"]) > len("must be valid"), path
        assert rule["message"] != rule["rule"]


def test_the_only_default_in_status_says_that_nobody_has_looked_yet() -> None:
    defaults = {path: node["default"] for path, node in STATUS if "default" in node}

    assert defaults == {"status": {"observedGeneration": -1}}


def test_lists_with_identities_are_merged_item_by_item() -> None:
    fields = dict(SPEC + STATUS)

    assert fields["spec.worker.env"]["x-kubernetes-list-map-keys"] == ["name"]
    assert fields["status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert fields["spec.queue.agents"]["x-kubernetes-list-type"] == "set"


def test_no_field_is_a_pod_spec_or_reaches_outside_the_namespace() -> None:
    names = {path.rpartition(".")[2].rstrip("[]{}") for path, _ in SPEC}

    assert names.isdisjoint(
        {
            "volumes",
            "volumeMounts",
            "hostPath",
            "hostNetwork",
            "hostPID",
            "securityContext",
            "privileged",
            "initContainers",
            "containers",
            "template",
            "url",
            "namespace",
        }
    )
