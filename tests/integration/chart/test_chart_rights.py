"""What the operator's account may do, by the judgement of a real API server."""

from collections.abc import Iterator

import pytest

from devcluster.failure import ClusterError
from devcluster.kubectl import Kubectl
from fixtures.chart import NAMESPACE, Release

pytestmark = pytest.mark.integration

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:ops-opsagent-operator"
WORKERS = "opsagentworkers.opsagent.dev"
NEEDED = [
    *((verb, WORKERS) for verb in ("get", "list", "watch")),
    ("patch", f"{WORKERS}/status"),
    *(
        (verb, resource)
        for resource in ("deployments.apps", "controllerrevisions.apps")
        for verb in ("get", "list", "watch", "create", "patch", "delete")
    ),
    *(
        (verb, "poddisruptionbudgets.policy")
        for verb in ("get", "list", "watch", "create", "patch")
    ),
    *((verb, "pods") for verb in ("get", "list", "watch", "patch")),
    ("get", "secrets"),
    ("get", "events"),
    ("create", "events"),
    ("patch", "events"),
]
NEVER = [
    ("create", WORKERS),
    ("patch", WORKERS),
    ("delete", WORKERS),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("create", "secrets"),
    ("create", "pods"),
    ("delete", "pods"),
    ("create", "pods/exec"),
    ("create", "pods/eviction"),
    ("patch", "pods/status"),
    ("delete", "poddisruptionbudgets.policy"),
    ("get", "configmaps"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("impersonate", "users"),
]


def allowed(kubectl: Kubectl, verb: str, what: str, *, namespace: str) -> bool:
    """`what` is `plural[.group][/subresource]`; kubectl itself would take the last for a name."""
    resource, _, subresource = what.partition("/")
    who = [f"--as={ACCOUNT}", f"--namespace={namespace}"]
    part = [f"--subresource={subresource}"] if subresource else []
    try:
        return kubectl.run("auth", "can-i", verb, resource, *part, *who).strip() == "yes"
    except ClusterError:  # kubectl says "no" with its exit status, too
        return False


def denied(kubectl: Kubectl, namespace: str) -> list[tuple[str, str]]:
    """Which of the needed rights are missing in `namespace`."""
    return [pair for pair in NEEDED if not allowed(kubectl, *pair, namespace=namespace)]


@pytest.fixture
def teams(kubectl: Kubectl) -> Iterator[tuple[str, str]]:
    """Two namespaces."""
    names = ("chart-blue", "chart-green")
    for name in names:
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield names
    kubectl.run("delete", "namespace", *names, "--wait=false")


def test_cluster_wide_the_operator_may_do_its_work_and_nothing_else(
    kubectl: Kubectl, release: Release
) -> None:
    release.install(take_ownership=True)
    assert denied(kubectl, "default") == []
    excess = [pair for pair in NEVER if allowed(kubectl, *pair, namespace="default")]
    assert excess == []


def test_confined_to_a_namespace_it_may_do_its_work_there_and_nothing_elsewhere(
    kubectl: Kubectl, release: Release, teams: tuple[str, str]
) -> None:
    served, other = teams
    release.install({"watchNamespaces": [served]}, take_ownership=True)
    assert denied(kubectl, served) == []
    assert denied(kubectl, other) == NEEDED
    assert denied(kubectl, NAMESPACE) == NEEDED
