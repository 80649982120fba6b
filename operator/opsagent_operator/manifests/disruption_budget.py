"""The PodDisruptionBudget of a worker: how many of its pods a drain of nodes may take at a time."""

from collections.abc import Mapping
from typing import Any

from opsagent_operator.api.step import StepSize, wire
from opsagent_operator.manifests.labels import WORKER, owned_metadata
from opsagent_operator.model.observed import Worker

__all__ = ["disruption_budget"]


def disruption_budget(worker: Worker, *, max_unavailable: StepSize) -> Mapping[str, Any]:
    """One budget for the pods of all revisions, named like the worker itself.

    A percentage is of the pods that the Deployments ask for together; Kubernetes rounds up, so that one
    pod can always be evicted. The operator's own scaling is not an eviction and is not counted.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owned_metadata(worker, name=worker.name),
        "spec": {
            "maxUnavailable": wire(max_unavailable),
            "selector": {"matchLabels": {WORKER: worker.name}},
            # A pod that is not ready takes no tasks: it shall never hold up a drain of its node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
