"""A cluster whose pods really run, through the interface that demo and tests share."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.provider import ClusterProvider

pytestmark = pytest.mark.e2e

NAMESPACE = "devcluster-web"
LABELS = {"app": "web"}


@pytest.fixture(scope="module")
def image(node_cluster: ClusterProvider, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A web server's image, as pods name it."""
    context: Path = tmp_path_factory.mktemp("web")
    (context / "page").write_text("served from a pod\n")
    dockerfile = context / "Dockerfile.web"
    dockerfile.write_text(
        "ARG BASE_IMAGE=python:3.13-slim\n"
        "FROM ${BASE_IMAGE}\n"
        "COPY page /srv/page\n"
        'CMD ["python3", "-u", "-m", "http.server", "--directory=/srv", "8000"]\n'
    )
    built = node_cluster.images.build(dockerfile)
    return node_cluster.publish(built, name="devcluster-web", tag="v1")


@pytest.fixture(scope="module")
def web(node_cluster: ClusterProvider, image: str) -> Iterator[str]:
    """Two web servers behind the Service `web`; yields their Deployment."""
    metadata = {"name": "web", "namespace": NAMESPACE}
    pod = {"containers": [{"name": "web", "image": image}], "terminationGracePeriodSeconds": 1}
    node_cluster.client.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    )
    node_cluster.client.run(
        *("-n", NAMESPACE, "rollout", "status", "deploy/web", "--timeout=120s"), timeout=150
    )
    yield "deploy/web"
    node_cluster.client.run("delete", "namespace", NAMESPACE, timeout=120)


def fetch(url: str) -> str:
    return f"import urllib.request as r; print(r.urlopen('{url}', timeout=20).read().decode())"


def test_a_pod_reaches_others_by_the_name_of_their_service(
    node_cluster: ClusterProvider, web: str
) -> None:
    name = f"http://web.{NAMESPACE}.svc.cluster.local/page"
    said = node_cluster.client.run("-n", NAMESPACE, "exec", web, "--", "python3", "-c", fetch(name))
    assert said.strip() == "served from a pod"


def test_a_forwarded_port_leads_to_a_pod_and_its_log_can_be_read(
    node_cluster: ClusterProvider, web: str
) -> None:
    with (
        node_cluster.port_forwarding(web, 0, 8000, NAMESPACE) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/page?asked-by-test", timeout=20) as page,
    ):
        assert page.read() == b"served from a pod\n"
    logs = node_cluster.client.run("-n", NAMESPACE, "logs", "-l", "app=web", "--tail=-1")
    assert "GET /page?asked-by-test" in logs


def test_a_published_image_is_known_to_the_node_by_its_digest(
    node_cluster: ClusterProvider, web: str
) -> None:
    pods = node_cluster.client.read("-n", NAMESPACE, "get", "pods", "-l", "app=web")
    ids = {pod["status"]["containerStatuses"][0]["imageID"] for pod in pods["items"]}
    assert len(ids) == 1, f"pods of {web} run different images"
    assert "@sha256:" in ids.pop()
