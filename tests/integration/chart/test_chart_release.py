"""What becomes of a release, its definition and the objects of it, on a real API server."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster.kubectl import Kubectl
from fixtures.chart import NAMESPACE, Chart, HelmError, Release, example

pytestmark = pytest.mark.integration

DEFINITION = "customresourcedefinition/opsagentworkers.opsagent.dev"
OPERATOR = "deployment/ops-opsagent-operator"


@pytest.fixture
def worker(kubectl: Kubectl, chart: Chart, release: Release) -> Iterator[str]:
    """An OpsAgentWorker made as the notes say, after the first installation."""
    release.install(take_ownership=True)
    manifest = example(chart)
    kubectl.apply({**manifest, "metadata": {**manifest["metadata"], "namespace": NAMESPACE}})
    name = f"opsagentworker/{manifest['metadata']['name']}"
    yield name
    kubectl.run("delete", name, "--namespace", NAMESPACE)


def test_the_operator_is_admitted_by_the_restricted_pod_security_standard(
    kubectl: Kubectl, release: Release
) -> None:
    release.install(take_ownership=True)  # returns once the pod is admitted and ready
    status = kubectl.read("get", OPERATOR, "--namespace", NAMESPACE)["status"]
    assert status["readyReplicas"] == 1


def test_an_upgrade_brings_new_values_and_a_new_definition(
    kubectl: Kubectl, release: Release, tmp_path: Path
) -> None:
    release.install(take_ownership=True)
    newer = tmp_path / "chart"
    shutil.copytree(release.chart.path, newer)
    (definition,) = (newer / "files/crds").iterdir()
    definition.write_text(
        definition.read_text().replace("- opsagent\n", "- opsagent\n    - newer\n")
    )

    upgraded = Release(chart=replace(release.chart, path=newer))
    upgraded.upgrade({"logLevel": "DEBUG"})

    names = kubectl.read("get", DEFINITION)["spec"]["names"]
    assert names["categories"] == ["opsagent", "newer"]
    pod = kubectl.read("get", OPERATOR, "--namespace", NAMESPACE)["spec"]["template"]["spec"]
    assert {"name": "OPSAGENT_LOG_LEVEL", "value": "DEBUG"} in pod["containers"][0]["env"]

    release.upgrade()
    assert kubectl.read("get", DEFINITION)["spec"]["names"]["categories"] == ["opsagent"]


def test_an_uninstall_keeps_the_objects_and_the_next_install_takes_them_over(
    kubectl: Kubectl, release: Release, worker: str
) -> None:
    before = kubectl.read("get", worker, "--namespace", NAMESPACE)["metadata"]["uid"]

    release.uninstall()
    assert kubectl.read("get", worker, "--namespace", NAMESPACE)["metadata"]["uid"] == before
    left = kubectl.run("get", "deployments,serviceaccounts,services", "-n", NAMESPACE, "-o", "name")
    assert left.split() == ["serviceaccount/default"]

    release.install()
    assert kubectl.read("get", worker, "--namespace", NAMESPACE)["metadata"]["uid"] == before


def test_a_release_of_another_name_says_who_owns_the_definition_and_can_take_it(
    kubectl: Kubectl, release: Release
) -> None:
    release.install(take_ownership=True)
    release.uninstall()
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        release.install(name="other")
    for name in release.names():
        release.uninstall(name=name)

    release.install(name="other", take_ownership=True)
    owner = kubectl.read("get", DEFINITION)["metadata"]["annotations"]
    assert owner["meta.helm.sh/release-name"] == "other"


def test_ceasing_to_manage_the_definition_does_not_delete_it(
    kubectl: Kubectl, release: Release, worker: str
) -> None:
    release.upgrade({"crds": {"install": False}})
    assert kubectl.read("get", worker, "--namespace", NAMESPACE)["kind"] == "OpsAgentWorker"
