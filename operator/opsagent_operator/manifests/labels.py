"""Names, labels and annotations of the objects that belong to an `OpsAgentWorker`."""

from collections.abc import Mapping
from typing import Any

from opsagent_operator.api.v1alpha1 import GROUP, KIND, VERSION
from opsagent_operator.model.observed import Worker

__all__ = [
    "CONTAINER",
    "PROMOTED_AT",
    "REVISION",
    "WORKER",
    "child_metadata",
    "labels",
    "selector",
]

WORKER = "opsagent.dev/worker"
"""Label of every child: the name of its `OpsAgentWorker`."""
REVISION = "opsagent.dev/revision"
"""Label of Deployments and pods: the name of their revision."""
PROMOTED_AT = "opsagent.dev/promoted-at"
"""Annotation of a ControllerRevision: when a worker of it became ready, RFC 3339."""
CONTAINER = "worker"
"""The name of the container that runs the worker."""


def labels(*, worker: str, revision: str) -> dict[str, str]:
    """All labels of the children of one revision; Kubernetes' recommended ones among them."""
    return {
        "app.kubernetes.io/name": "opsagent-worker",
        "app.kubernetes.io/instance": worker,
        "app.kubernetes.io/managed-by": "opsagent-operator",
        **selector(worker=worker, revision=revision),
    }


def selector(*, worker: str, revision: str) -> dict[str, str]:
    """The labels that tell the pods of one revision from all others."""
    return {WORKER: worker, REVISION: revision}


def child_metadata(
    worker: Worker, *, name: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Metadata of a child named after its revision: owned, so that Kubernetes itself deletes it."""
    return {
        "name": name,
        "namespace": worker.namespace,
        "labels": labels(worker=worker.name, revision=name),
        **({"annotations": dict(annotations)} if annotations else {}),
        "ownerReferences": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": worker.name,
                "uid": worker.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
