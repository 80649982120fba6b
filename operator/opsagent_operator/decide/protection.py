"""Which workers autoscalers of nodes are asked to leave alone: those that hold tasks.

Short tasks make a worker busy and idle many times a minute, and each change is a write. So a pod is
protected as soon as it is seen busy, and for as long as it has not been idle for `REST`: at most two
writes for a pod in that time, whatever its tasks.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.manifests.labels import PROTECTED, PROTECTION
from opsagent_operator.model.observed import Memory, Observed, QueueState

__all__ = ["protection"]

REST: Final = timedelta(seconds=30)
"""For how long a pod has to be idle before it is given up to autoscalers."""


def protection(
    observed: Observed, spec: OpsAgentWorkerSpec, memory: Memory, now: datetime
) -> tuple[Mapping[str, Mapping[str, str | None]], Memory]:
    """Annotations that change, by pod, and what to remember.

    While the queue is unknown nothing changes. Annotations that the revision's own template sets are
    its author's and stay as they are.
    """
    queue = observed.queue
    if not isinstance(queue, QueueState):
        return {}, memory
    if not queue.task_aware:
        return {}, memory.updated(idle_since={})
    templates = {revision.name: revision.template for revision in observed.revisions}
    changes: dict[str, Mapping[str, str | None]] = {}
    idle_since: dict[str, datetime] = {}
    for pod in observed.pods:
        if pod.deleting or pod.ended:
            continue
        busy = pod.name in queue.held and spec.disruption.protect_busy
        if busy and not pod.protected:
            changes[pod.name] = _annotations(templates.get(pod.revision, {}), protect=True)
        elif pod.protected and not busy:
            since = memory.idle_since.get(pod.name, now)
            if spec.disruption.protect_busy and now < since + REST:
                idle_since[pod.name] = since
            else:
                changes[pod.name] = _annotations(templates.get(pod.revision, {}), protect=False)
    return changes, memory.updated(idle_since=idle_since)


def _annotations(template: Mapping[str, Any], *, protect: bool) -> Mapping[str, str | None]:
    authors = template.get("metadata", {}).get("annotations", {})
    ours = {PROTECTED: "true", **PROTECTION}
    return {name: value if protect else None for name, value in ours.items() if name not in authors}
