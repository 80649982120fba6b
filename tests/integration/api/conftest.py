"""An API server that knows OpsAgentWorker."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import CustomObjectsApi
from kubernetes.config import new_client_from_config

from devcluster.kubectl import Kubectl
from devcluster.provider import ClusterProvider
from integration.api.server import Api
from opsagent_operator.api.v1alpha1 import GROUP, PLURAL, VERSION

DEFINITION = Path(__file__).parents[3] / "crds" / f"{GROUP}_{PLURAL}.yaml"
NAMESPACE = "api"


@pytest.fixture(scope="package")
def api(light_cluster: ClusterProvider) -> Iterator[Api]:
    """A namespace with the definition installed."""
    kubectl = light_cluster.client
    kubectl.define(f"{PLURAL}.{GROUP}", DEFINITION)
    _wait_until_explained(kubectl)
    kubectl.run("create", "namespace", NAMESPACE)
    with new_client_from_config(str(light_cluster.kubeconfig)) as connection:  # type: ignore[no-untyped-call] # ships half its types
        yield Api(kubectl=kubectl, objects=CustomObjectsApi(connection), namespace=NAMESPACE)
    kubectl.run("delete", "namespace", NAMESPACE)


def _wait_until_explained(kubectl: Kubectl) -> None:
    """The API server serves objects first and their description, which `kubectl explain` reads, a moment later."""
    deadline = time.monotonic() + 60
    while f"apis/{GROUP}/{VERSION}" not in kubectl.run("get", "--raw", "/openapi/v3"):
        assert time.monotonic() < deadline, "the API server does not describe the definition"
        time.sleep(0.05)
