"""The Deployment of one revision."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from opsagent_operator.manifests.labels import child_metadata, selector
from opsagent_operator.model.observed import Revision, Worker

__all__ = ["deployment"]


def deployment(
    worker: Worker, revision: Revision, *, replicas: int, progress_deadline: timedelta
) -> Mapping[str, Any]:
    """The Deployment that runs `replicas` pods of `revision`, exactly as it was recorded."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(worker, name=revision.name),
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": int(progress_deadline.total_seconds()),
            # A revision has one template for ever: older ReplicaSets would only be litter.
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": selector(worker=worker.name, revision=revision.name)},
            "template": revision.template,
        },
    }
