"""What the chart accepts as values, and what it says about others."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.chart import ROOT, Chart, HelmError, only

CHART = ROOT / "helm/opsagent-operator"
DEFAULTS: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
FREE_FORM = {
    "serviceAccount.annotations",
    "metrics.serviceAnnotations",
    "metrics.serviceMonitor.labels",
    "resources.requests",
    "resources.limits",
    "podAnnotations",
    "podLabels",
    "nodeSelector",
}
"""Maps whose keys are the user's own."""


def paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted path of `values`, inner ones too, with what stands there."""
    for key, value in values.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from paths(value, f"{prefix}{key}.")


def nested(path: str, value: Any) -> Any:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


CLOSED = ["", *(path for path, value in paths(DEFAULTS) if isinstance(value, dict))]


@pytest.mark.parametrize(
    "parent", [path for path in CLOSED if path not in FREE_FORM], ids=lambda path: path or "top"
)
def test_an_unknown_key_is_refused_by_name(chart: Chart, parent: str) -> None:
    typo = nested(f"{parent}.replicaz".removeprefix("."), 1)
    with pytest.raises(HelmError, match="'replicaz' not allowed") as refused:
        chart.template(typo)
    assert f"at '/{parent.replace('.', '/')}'".replace("'/'", "''") in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("logLevel", "TRACE"),
        ("image.repository", ""),
        ("image.repository", "UPPER/case"),
        ("image.tag", "v1 beta"),
        ("image.digest", "sha256:abc"),
        ("image.pullPolicy", "Sometimes"),
        ("imagePullSecrets", ["registry"]),
        ("watchNamespaces", "blue"),
        ("watchNamespaces", ["Blue"]),
        ("watchNamespaces", ["*"]),
        ("watchNamespaces", ["blue", "blue"]),
        ("crds.install", "yes"),
        ("podAnnotations", {"count": 1}),
        ("metrics.serviceMonitor.interval", "often"),
        ("tolerations", [{"effect": "NoRun"}]),
        ("resources", {"claims": []}),
        ("fullnameOverride", "With.Dots"),
    ],
)
def test_a_wrong_value_is_refused_and_its_place_is_named(
    chart: Chart, path: str, value: Any
) -> None:
    with pytest.raises(HelmError, match=re.escape(f"at '/{path.replace('.', '/')}")):
        chart.template(nested(path, value))


def test_the_readme_lists_every_value_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([\w.]+)` \| `(.*?)` \|", (CHART / "README.md").read_text(), re.MULTILINE
    )
    documented = {path: yaml.safe_load(default) for path, default in rows}
    inside = tuple(f"{path}." for path in FREE_FORM)
    leaves = {
        path: value
        for path, value in paths(DEFAULTS)
        if path in FREE_FORM or not (path in CLOSED or path.startswith(inside))
    }
    assert documented == leaves


def test_the_chart_works_as_a_dependency_of_another(chart: Chart, tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts/opsagent-operator")
    (parent / "Chart.yaml").write_text("apiVersion: v2\nname: platform\nversion: 1.0.0\n")
    (parent / "values.yaml").write_text("global: {region: eu}\n")
    umbrella = Chart(helm=chart.helm, path=parent)
    assert only(umbrella.template(), "Deployment")["metadata"]["name"] == "ops-opsagent-operator"
