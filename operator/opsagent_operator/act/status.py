"""Writes the status of an object.

By a merge patch of the status subresource, with the difference to what stands there: `spec`, where
`kubectl scale` writes, is out of reach, and nothing that others change at the same time is a
conflict. (Server-side apply, which children get, cannot empty a map: it leaves null in its place,
and the schema refuses that.)
"""

from collections.abc import Mapping
from typing import Any

from opsagent_operator.kube.client import WORKERS, Kube
from opsagent_operator.kube.errors import Conflict, NotFound
from opsagent_operator.model.observed import Worker
from opsagent_operator.observe.cluster import ClusterCache

__all__ = ["merge_patch", "write_status"]


async def write_status(
    status: Mapping[str, Any], worker: Worker, *, kube: Kube, cache: ClusterCache
) -> None:
    """Make `status` the status of `worker`, unless it is already or the object has gone meanwhile.

    Raises:
        KubeError: the API server does not answer, or refuses.
    """
    patch = merge_patch(worker.status, status)
    if not patch:
        return
    try:
        answer = await kube.merge(
            WORKERS,
            # With the uid it is a conflict if another object has taken the name.
            {"metadata": {"uid": worker.uid}, "status": patch},
            namespace=worker.namespace,
            name=worker.name,
            subresource="status",
        )
    except (NotFound, Conflict):
        return
    cache.record_write(WORKERS, answer)


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `before` into `after`; neither may contain null."""
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if below := merge_patch(old, value):
                patch[key] = below
        elif old != value:
            patch[key] = value
    return patch
