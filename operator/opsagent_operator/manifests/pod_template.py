"""The pod template of a worker: what one revision runs.

It is rendered once, when the revision is made, and kept in the ControllerRevision: a later operator
may render differently, but never changes the pods of a release that already exists.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from opsagent_operator.api.duration import format_duration
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec, SecretKeyRef, WorkerTemplate
from opsagent_operator.manifests.labels import CONTAINER, labels, selector

__all__ = ["pod_template"]

PORT = 8080
USER = 65532
"""The `nonroot` user of distroless images; the worker image has it too."""
TERMINATION_MARGIN = timedelta(seconds=15)
"""Between the end of the drain and the kubelet's SIGKILL: time to hand tasks back and say goodbye."""
IDENTITY = ("OPSAGENT_VERSION", "OPSAGENT_REVISION")
"""Settings that any worker may want to know about itself."""
CA_FOLDER = "/etc/opsagent/redis"
CA_FILE = "ca.crt"


def pod_template(
    *, namespace: str, name: str, revision: str, spec: OpsAgentWorkerSpec, version: str, image: str
) -> dict[str, Any]:
    """Render the template of one revision as a plain PodTemplateSpec.

    The pods satisfy Pod Security "restricted" and mount no service-account token unless the object
    names a service account.
    """
    worker = spec.worker
    return {
        "metadata": {
            "labels": {**worker.pod_labels, **labels(worker=name, revision=revision)},
            "annotations": {
                **worker.pod_annotations,
                "kubectl.kubernetes.io/default-container": CONTAINER,
                "opsagent.dev/version": version,
            },
        },
        "spec": {
            "automountServiceAccountToken": worker.service_account_name is not None,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "imagePullPolicy": spec.image.pull_policy,
                    "env": _environment(namespace, name, revision, spec, version),
                    # The last log lines become the pod's termination message, and so the reason
                    # that the object's conditions show.
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    **({} if spec.queue.plain else _health()),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
                        *_ca_mounts(spec),
                    ],
                    **_optional(
                        command=list(worker.command),
                        args=list(worker.args),
                        envFrom=[source.model_dump(**_JSON) for source in worker.env_from],
                        resources=_optional(**worker.resources.model_dump(**_JSON)),
                    ),
                }
            ],
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": int(
                (worker.drain_timeout + TERMINATION_MARGIN).total_seconds()
            ),
            "volumes": [{"name": "tmp", "emptyDir": {}}, *_ca_volumes(spec)],
            **_optional(imagePullSecrets=[{"name": name} for name in spec.image.pull_secrets]),
            **_placement(worker, pods=selector(worker=name, revision=revision)),
        },
    }


_JSON: dict[str, Any] = {"by_alias": True, "exclude_none": True, "mode": "json"}


def _optional(**fields: Any) -> dict[str, Any]:
    """Only the fields that say something: an empty list is not the same as no list to a reader."""
    return {key: value for key, value in fields.items() if value}


def _environment(
    namespace: str, name: str, revision: str, spec: OpsAgentWorkerSpec, version: str
) -> list[dict[str, Any]]:
    settings = _settings(namespace, name, revision, spec, version)
    if spec.queue.plain:  # the image of another system has settings of its own
        settings = {key: settings[key] for key in IDENTITY}
    return [
        {"name": "REDIS_URL", "valueFrom": _secret_key(spec.queue.redis.url_from.secret_key_ref)},
        {
            "name": "OPSAGENT_POD_NAME",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        },
        *({"name": key, "value": value} for key, value in settings.items()),
        *(variable.model_dump(**_JSON) for variable in spec.worker.env),
    ]


def _settings(
    namespace: str, name: str, revision: str, spec: OpsAgentWorkerSpec, version: str
) -> dict[str, str]:
    """What the worker of this project reads (docs/worker.md)."""
    worker, redis = spec.worker, spec.queue.redis
    return {
        "WORKER_POLL_INTERVAL": format_duration(worker.poll_interval),
        "LOG_LEVEL": worker.log_level,
        "OPSAGENT_WORKER": f"{namespace}/{name}",
        "OPSAGENT_VERSION": version,
        "OPSAGENT_REVISION": revision,
        "OPSAGENT_QUEUE_PREFIX": spec.queue.prefix,
        "OPSAGENT_AGENTS": ",".join(spec.queue.agents),
        "OPSAGENT_CONCURRENCY": str(worker.concurrency),
        "OPSAGENT_TASK_TIMEOUT": format_duration(worker.task_timeout),
        "OPSAGENT_LEASE": format_duration(worker.lease),
        "OPSAGENT_DRAIN_TIMEOUT": format_duration(worker.drain_timeout),
        "OPSAGENT_RESULT_TTL": format_duration(worker.result_ttl),
        "OPSAGENT_RETRY_MAX_ATTEMPTS": str(worker.retry.max_attempts),
        "OPSAGENT_RETRY_BACKOFF": format_duration(worker.retry.backoff),
        "OPSAGENT_RETRY_MAX_BACKOFF": format_duration(worker.retry.max_backoff),
        # Always set, so that no key of a Secret in envFrom can switch verification off.
        "OPSAGENT_REDIS_CA_FILE": f"{CA_FOLDER}/{CA_FILE}" if redis.ca_from else "",
        "OPSAGENT_REDIS_ALLOW_INSECURE_TLS": "true" if redis.allow_insecure_tls else "false",
    }


def _secret_key(ref: SecretKeyRef) -> dict[str, Any]:
    return {"secretKeyRef": {"name": ref.name, "key": ref.key}}


def _ca_mounts(spec: OpsAgentWorkerSpec) -> list[dict[str, Any]]:
    if spec.queue.redis.ca_from is None:
        return []
    return [{"name": "redis-ca", "mountPath": CA_FOLDER, "readOnly": True}]


def _ca_volumes(spec: OpsAgentWorkerSpec) -> list[dict[str, Any]]:
    if spec.queue.redis.ca_from is None:
        return []
    ref = spec.queue.redis.ca_from.secret_key_ref
    items = [{"key": ref.key, "path": CA_FILE}]
    return [{"name": "redis-ca", "secret": {"secretName": ref.name, "items": items}}]


def _health() -> dict[str, Any]:
    """Port and probes of the worker of this project. Another image's is ready when it runs."""
    return {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        # Startup ends at the first answer; from then on liveness judges alone.
        "startupProbe": _probe("/livez", period=1, failures=60),
        "livenessProbe": _probe("/livez", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=5, failures=2),
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    """An HTTP probe; `period` in seconds."""
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _placement(worker: WorkerTemplate, *, pods: Mapping[str, str]) -> dict[str, Any]:
    return _optional(
        nodeSelector=dict(worker.node_selector),
        tolerations=[toleration.model_dump(**_JSON) for toleration in worker.tolerations],
        affinity=worker.affinity and worker.affinity.model_dump(**_JSON),
        topologySpreadConstraints=[
            # Without a selector a constraint would count no pods at all.
            {**constraint.model_dump(**_JSON), "labelSelector": {"matchLabels": dict(pods)}}
            for constraint in worker.topology_spread_constraints
        ],
        priorityClassName=worker.priority_class_name,
        serviceAccountName=worker.service_account_name,
    )
