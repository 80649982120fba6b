"""The demo's objects, read from YAML and fitted to the cluster at hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


def load(name: str) -> list[dict[str, Any]]:
    """The objects of `manifests/<name>.yaml`."""
    text = (HERE / "manifests" / f"{name}.yaml").read_text()
    return [loaded for loaded in yaml.safe_load_all(text) if loaded]


def placed(
    objects: list[dict[str, Any]], *, namespace: str, images: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The objects in `namespace`, with image names replaced by what the cluster pulls."""
    for found in objects:
        found["metadata"]["namespace"] = namespace
        pod = found["spec"].get("template", {}).get("spec", {})
        for container in pod.get("containers", []):
            container["image"] = images[container["image"]]
        yield found


def namespace(name: str) -> dict[str, Any]:
    """A namespace that takes only pods that ask for nothing special."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }


def secret(name: str, *, namespace: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": dict(values),
    }


def config_map(name: str, *, namespace: str, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": dict(files),
    }


def ops_agent(*, namespace: str, image: Mapping[str, str]) -> dict[str, Any]:
    """The sample OpsAgentWorker; `image` says where the cluster finds the worker."""
    (worker,) = load("ops-agent")
    worker["metadata"]["namespace"] = namespace
    worker["spec"]["image"] = dict(image)
    return worker
