"""Names, labels and annotations of the objects that belong to an `OpsAgentWorker`."""

from collections.abc import Mapping
from typing import Any

from opsagent_operator.api.v1alpha1 import GROUP, KIND, VERSION
from opsagent_operator.model.observed import Worker

__all__ = [
    "CONTAINER",
    "DELETION_COST",
    "PROMOTED_AT",
    "PROTECTED",
    "PROTECTION",
    "REVISION",
    "WORKER",
    "child_metadata",
    "labels",
    "owned_metadata",
    "selector",
]

WORKER = "opsagent.dev/worker"
"""Label of every child: the name of its `OpsAgentWorker`."""
REVISION = "opsagent.dev/revision"
"""Label of Deployments and pods: the name of their revision."""
PROMOTED_AT = "opsagent.dev/promoted-at"
"""Annotation of a ControllerRevision: when a worker of it became ready, RFC 3339."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation of a pod: a number; of the ready pods of a ReplicaSet the cheapest goes first."""
PROTECTION = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Annotations of a pod that make autoscalers of nodes leave its node alone."""
PROTECTED = "opsagent.dev/protected"
"""Annotation of a pod: the ones in `PROTECTION` are of the operator, which takes them away again."""
CONTAINER = "worker"
"""The name of the container that runs the worker."""


def labels(*, worker: str, revision: str | None) -> dict[str, str]:
    """All labels of a child, Kubernetes' recommended ones among them; None: it belongs to no revision."""
    return {
        "app.kubernetes.io/name": "opsagent-worker",
        "app.kubernetes.io/instance": worker,
        "app.kubernetes.io/managed-by": "opsagent-operator",
        WORKER: worker,
        **({} if revision is None else {REVISION: revision}),
    }


def selector(*, worker: str, revision: str) -> dict[str, str]:
    """The labels that tell the pods of one revision from all others."""
    return {WORKER: worker, REVISION: revision}


def child_metadata(
    worker: Worker, *, name: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Metadata of a child named after its revision."""
    return owned_metadata(worker, name=name, revision=name, annotations=annotations)


def owned_metadata(
    worker: Worker,
    *,
    name: str,
    revision: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of any child: owned, so that Kubernetes itself deletes it."""
    return {
        "name": name,
        "namespace": worker.namespace,
        "labels": labels(worker=worker.name, revision=revision),
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
