"""The chart on a real API server, in a namespace that enforces the restricted standard."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from devcluster.kubectl import Kubectl
from devcluster.provider import ClusterProvider
from fixtures.chart import NAMESPACE, Chart, Release
from opsagent_operator.api.v1alpha1 import GROUP, PLURAL


@pytest.fixture(scope="session")
def kubectl(light_cluster: ClusterProvider) -> Kubectl:
    return light_cluster.client


@pytest.fixture(scope="session")
def release_namespace(kubectl: Kubectl) -> Iterator[str]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield NAMESPACE
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def release(chart: Chart, kubectl: Kubectl, release_namespace: str) -> Iterator[Release]:
    """A release that is not installed yet; what the test leaves installed is removed.

    Nor is the definition there: Helm does not take over one that another suite has applied.
    """
    kubectl.run("delete", "crd", f"{PLURAL}.{GROUP}", "--ignore-not-found")
    on_cluster = replace(chart, kubeconfig=kubectl.kubeconfig)
    release = Release(chart=on_cluster, namespace=release_namespace)
    yield release
    for name in release.names():
        release.uninstall(name=name)
