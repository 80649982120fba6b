"""Writes the status of an object.

By server-side apply on the status subresource: what an earlier status had and this one has not is
removed, nothing has to be read before, and `spec` (where `kubectl scale` writes) is out of reach.
"""

from collections.abc import Mapping
from typing import Any

from opsagent_operator.decide.observed import Worker
from opsagent_operator.kube.client import WORKERS, Kube
from opsagent_operator.kube.errors import Conflict, NotFound
from opsagent_operator.observe.cluster import ClusterCache

__all__ = ["write_status"]


async def write_status(
    status: Mapping[str, Any], worker: Worker, *, kube: Kube, cache: ClusterCache
) -> None:
    """Make `status` the status of `worker`, unless it is already or the object has gone meanwhile.

    Raises:
        KubeError: the API server does not answer, or refuses.
    """
    if status == worker.status:
        return
    manifest = {
        "apiVersion": WORKERS.api_version,
        "kind": WORKERS.kind,
        # The uid makes it a conflict if another object has taken the name.
        "metadata": {"namespace": worker.namespace, "name": worker.name, "uid": worker.uid},
        "status": status,
    }
    try:
        answer = await kube.apply(WORKERS, manifest, subresource="status")
    except (NotFound, Conflict):
        return
    cache.record_write(WORKERS, answer)
