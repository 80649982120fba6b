"""What `kubectl get oaw` knows, read for the screen and the summary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from devcluster.kubectl import Kubectl

LABEL = "opsagent.dev/worker"
"""Of a pod: the worker it belongs to."""


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """An OpsAgentWorker as its status tells it."""

    version: str
    ready: int
    desired: int
    pods: int
    """Of this worker, those on their way out included."""
    reason: str
    """Of the condition Ready."""
    settled: bool
    """The status is about the spec that is there now, and nothing moves."""
    decision: str
    """The last step, with its numbers; empty before the first."""
    decided: str
    """What the last step was: ScaleUp, Hold…"""

    @classmethod
    def of(cls, found: Mapping[str, Any], *, pods: int) -> Self:
        status = found.get("status", {})
        conditions = {entry["type"]: entry for entry in status.get("conditions", [])}
        ready = conditions.get("Ready", {})
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        workers = status.get("workers", {})
        decision = status.get("decision", {})
        return cls(
            version=status.get("release", {}).get("current", {}).get("version", ""),
            ready=workers.get("ready", 0),
            desired=workers.get("desired", 0),
            pods=pods,
            reason=ready.get("reason", ""),
            settled=current
            and ready.get("status") == "True"
            and conditions["Reconciling"]["status"] == "False",
            decision=decision.get("message", ""),
            decided=decision.get("action", ""),
        )


def look(kubectl: Kubectl, *, namespace: str, name: str) -> WorkerView:
    """The worker called `name`, and how many pods it has at this moment."""
    found = kubectl.read("get", "opsagentworkers,pods", "-n", namespace)["items"]
    (worker,) = (
        item
        for item in found
        if item["kind"] == "OpsAgentWorker" and item["metadata"]["name"] == name
    )
    pods = sum(item["metadata"].get("labels", {}).get(LABEL) == name for item in found)
    return WorkerView.of(worker, pods=pods)
