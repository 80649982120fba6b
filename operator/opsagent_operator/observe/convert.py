"""From Kubernetes' JSON to what `decide/` reads. Pure functions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.manifests.labels import (
    CONTAINER,
    DELETION_COST,
    PROMOTED_AT,
    PROTECTED,
    REVISION,
)
from opsagent_operator.model.observed import (
    DeploymentState,
    InvalidSpec,
    PodState,
    Revision,
    Worker,
)

__all__ = ["deployment_state", "pod_state", "revision", "worker"]

Object = Mapping[str, Any]


def worker(body: Object) -> Worker:
    """The custom resource; a spec that cannot be read becomes `InvalidSpec`, never an exception."""
    metadata = body["metadata"]
    return Worker(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        spec=_spec(body.get("spec") or {}),
        status=body.get("status") or {},
        deleting="deletionTimestamp" in metadata,
    )


def _spec(spec: Object) -> OpsAgentWorkerSpec | InvalidSpec:
    try:
        return OpsAgentWorkerSpec.model_validate(spec)
    except ValidationError as error:
        problems = (
            f"spec.{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        return InvalidSpec(message="; ".join(problems))


def revision(body: Object) -> Revision:
    """A revision from its ControllerRevision, as `manifests.revision` wrote it."""
    metadata, data = body["metadata"], body["data"]
    promoted = (metadata.get("annotations") or {}).get(PROMOTED_AT)
    return Revision(
        name=metadata["name"],
        number=body["revision"],
        version=data["version"],
        image=data["image"],
        template=data["template"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        promoted_at=datetime.fromisoformat(promoted) if promoted else None,
    )


def deployment_state(body: Object) -> DeploymentState:
    return DeploymentState(
        replicas=body["spec"]["replicas"],
        ready=(body.get("status") or {}).get("readyReplicas", 0),
    )


def pod_state(body: Object) -> PodState:
    metadata, status = body["metadata"], body.get("status") or {}
    containers = _container_statuses(status)
    waiting = _waiting(containers)
    annotations = metadata.get("annotations") or {}
    ready = _condition(status, "Ready")
    is_ready = ready.get("status") == "True"
    return PodState(
        name=metadata["name"],
        revision=(metadata.get("labels") or {}).get(REVISION, ""),
        ready=is_ready,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        ready_at=_moment(ready.get("lastTransitionTime")) if is_ready else None,
        deleting="deletionTimestamp" in metadata,
        ended=status.get("phase") in {"Failed", "Succeeded"},
        deletion_cost=_deletion_cost(annotations.get(DELETION_COST)),
        protected=PROTECTED in annotations,
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message"),
        exit_message=_exit_message(containers),
        unschedulable_message=_unschedulable_message(status),
        restarts=sum(container.get("restartCount", 0) for container in containers),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _deletion_cost(text: str | None) -> int:
    """0 where there is none; Kubernetes, too, takes one that is no number for none."""
    try:
        return int(text or 0)
    except ValueError:
        return 0


def _container_statuses(status: Object) -> list[Object]:
    """The worker's container first: what is wrong there is what people ask for."""
    containers = [
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    ]
    return sorted(containers, key=lambda container: container["name"] != CONTAINER)


def _waiting(containers: list[Object]) -> Object:
    """The first container that waits for another reason than that the pod has only just begun."""
    for container in containers:
        waiting: Object = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in {None, "PodInitializing", "ContainerCreating"}:
            return waiting
    return {}


def _exit_message(containers: list[Object]) -> str | None:
    for container in containers:
        for state in ("state", "lastState"):
            ended = (container.get(state) or {}).get("terminated") or {}
            if ended.get("exitCode", 0) != 0:
                message = ended.get("message") or f"exit code {ended['exitCode']}"
                return str(message).strip()
    return None


def _unschedulable_message(status: Object) -> str | None:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return str(scheduled.get("message") or "no node takes this pod")
    return None


def _condition(status: Object, kind: str) -> Object:
    for condition in status.get("conditions") or ():
        if condition["type"] == kind:
            return dict(condition)
    return {}
