"""OpsAgentWorkers that are valid but for what a test wants to see."""

from collections.abc import Mapping
from typing import Any, Final

from integration.api.kinds import ABSENT

SMALLEST: Final[Mapping[str, Any]] = {
    "version": "v1.0.0-stable-20251022",
    "image": {"repository": "ghcr.io/acme/ops-agent-worker"},
    "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "ops-agent", "key": "REDIS_URL"}}}},
}

# What must stand beside a field for the object to be valid, by the field's path.
BESIDE: Final[Mapping[str, Mapping[str, Any]]] = {
    "spec.image": {"version": "v1"},
    "spec.pin.reason": {"version": "v1"},
    "spec.queue.redis.caFrom.secretKeyRef.name": {"key": "ca.crt"},
    "spec.queue.redis.caFrom.secretKeyRef.key": {"name": "redis-ca"},
    "spec.queue.key": {"kind": "List"},
    "spec.queue.inFlightKey": {"kind": "List", "key": "celery"},
    "spec.queue.group": {"kind": "Stream", "key": "jobs"},
    "spec.scaling.minReplicas": {"maxReplicas": 1000},
    "spec.worker.retry.backoff": {"maxBackoff": "24h"},
    "spec.worker.retry.maxBackoff": {"backoff": "100ms"},
    "spec.worker.env[].name": {"value": "here"},
    "spec.worker.env[].value": {"name": "HERE"},
    "spec.worker.env[].valueFrom": {"name": "HERE"},
    "spec.worker.env[].valueFrom.secretKeyRef.name": {"key": "token"},
    "spec.worker.env[].valueFrom.secretKeyRef.key": {"name": "vercel"},
    "spec.worker.env[].valueFrom.configMapKeyRef.name": {"key": "team"},
    "spec.worker.env[].valueFrom.configMapKeyRef.key": {"name": "vercel"},
    "spec.worker.env[].valueFrom.resourceFieldRef.divisor": {"resource": "limits.cpu"},
    "spec.worker.envFrom[].prefix": {"secretRef": {"name": "vercel"}},
    "spec.worker.tolerations[].operator": {"key": "dedicated"},
    "spec.worker.tolerations[].value": {"key": "dedicated"},
    "spec.worker.tolerations[].effect": {"key": "dedicated"},
    "spec.worker.tolerations[].tolerationSeconds": {"key": "dedicated", "effect": "NoExecute"},
    "spec.worker.topologySpreadConstraints[].maxSkew": {"topologyKey": "zone"},
    "spec.worker.topologySpreadConstraints[].whenUnsatisfiable": {"topologyKey": "zone"},
    "spec.worker.topologySpreadConstraints[].minDomains": {
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
    },
}


def worker_with(field: str, value: Any, *, name: str = "ops-agent") -> dict[str, Any]:
    """An object that is valid but perhaps for `value` at `field`."""
    patch = _nested(field, value)
    spec = _without(SMALLEST, field) if value is ABSENT else SMALLEST
    return {
        "apiVersion": "opsagent.dev/v1alpha1",
        "kind": "OpsAgentWorker",
        "metadata": {"name": name},
        "spec": _merged(spec, patch["spec"]),
    }


def _nested(path: str, value: Any) -> dict[str, Any]:
    """`value` inside the containers that `path` names, each with what must stand beside it."""
    parent, _, name = path.rpartition(".")
    if name.endswith("[]"):
        value = [value]
    elif name.endswith("{}"):
        value = {"key": value}
    own = {} if value is ABSENT else {name.rstrip("[]{}"): value}
    container = {**BESIDE.get(path, {}), **own}
    return _nested(parent, container) if parent else container


def _merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in patch.items():
        both_objects = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both_objects else value
    return merged


def _without(spec: Mapping[str, Any], field: str) -> dict[str, Any]:
    head, _, rest = field.removeprefix("spec.").partition(".")
    if not rest:
        return {key: value for key, value in spec.items() if key != head}
    if head not in spec:
        return dict(spec)
    return {**spec, head: _without(spec[head], f"spec.{rest}")}
