"""Finds objects that were deleted while no watch was looking.

After an outage a watch may have to start anew with a list. kopf shows what is in the list, and says
nothing about what no longer is. So the objects that a list did not mention are asked for one by one:
normally there are none, and a wrong guess costs one read and nothing else.
"""

from collections.abc import Callable

from opsagent_operator.kube.client import WORKERS, Kube
from opsagent_operator.kube.errors import NotFound
from opsagent_operator.manifests.labels import WORKER as OWNER_LABEL
from opsagent_operator.observe.cluster import ClusterCache, Key
from opsagent_operator.runtime.streams import Sweep

__all__ = ["sweep"]


async def sweep(
    order: Sweep, *, kube: Kube, cache: ClusterCache, enqueue: Callable[[Key], None]
) -> None:
    """Ask for every object that the list did not mention; forget those that are gone.

    Raises:
        KubeError: the API server does not answer; what is left will be found after the next list.
    """
    resource = order.resource
    candidates = cache.unmentioned(resource, namespace=order.namespace, listing=order.listing)
    for key in candidates:
        try:
            body = await kube.get(resource, namespace=key.namespace, name=key.name)
        except NotFound:
            body = None
        labels = (body or {}).get("metadata", {}).get("labels") or {}
        if body is None or (resource != WORKERS and OWNER_LABEL not in labels):
            owners = cache.record_absence(resource, key)
        else:
            owners = cache.observe(resource, body, listed=True)
        for owner in owners:
            enqueue(owner)
