"""Light mode: real API server and controllers, fake nodes."""

import json

import pytest

from devcluster.provider import LocalProvider

pytestmark = pytest.mark.integration


def deployment(name: str, image: str, *, replicas: int = 1) -> dict[str, object]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    }


def test_pods_of_a_deployment_become_ready_and_go_when_it_is_deleted(
    light_cluster: LocalProvider,
) -> None:
    light_cluster.apply(deployment("ready", "example.com/app:1", replicas=3))
    light_cluster.wait("deploy/ready", "jsonpath={.status.readyReplicas}=3", timeout=60)

    light_cluster.kubectl(["delete", "deploy", "ready"], as_dict=False)
    light_cluster.client.run("wait", "pod", "-l", "app=ready", "--for=delete", "--timeout=60s")


def test_a_pod_whose_image_is_missing_waits_for_it(light_cluster: LocalProvider) -> None:
    light_cluster.apply(deployment("stuck", "example.com/app:v2-missing"))
    light_cluster.client.run(
        "wait",
        "pod",
        "-l",
        "app=stuck",
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff",
        "--timeout=60s",
    )
    pods = light_cluster.kubectl(["get", "pods", "-l", "app=stuck"])
    assert [pod["status"]["phase"] for pod in pods["items"]] == ["Pending"]


def test_every_write_is_in_the_audit_log(light_cluster: LocalProvider) -> None:
    light_cluster.client.run("create", "configmap", "audited")

    written = [json.loads(line) for line in light_cluster.audit_log.read_text().splitlines()]
    assert [
        (event["verb"], event["responseStatus"]["code"])
        for event in written
        if event["objectRef"].get("name") == "audited"
    ] == [("create", 201)]
