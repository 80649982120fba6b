"""Every constraint of `spec`, in the order of the API reference."""

from collections.abc import Iterator
from typing import Final

from integration.api.kinds import (
    KEYWORD_MESSAGES,
    Constraint,
    bounded,
    duration,
    key_ref,
    label_key,
    label_value,
    map_keys,
    no_longer_than,
    no_more_entries_than,
    no_more_than,
    object_name,
    one_of,
    quantity,
    required,
    step,
    unreserved,
    version,
    without_duplicates,
)


def _names(count: int) -> list[str]:
    return [f"name{number}" for number in range(count)]


SECRET_KEY = {"secretKeyRef": {"name": "ops-agent", "key": "REDIS_URL"}}

CELERY = {"kind": "List", "key": "celery", "inFlightKey": "unacked"}
ARQ = {"kind": "SortedSet", "key": "arq:queue"}
STREAM = {"kind": "Stream", "key": "jobs", "group": "workers"}


def _redis_name(field: str, says: str) -> Iterator[Constraint]:
    yield Constraint(
        f"{field} is any text",
        field,
        says,
        accepts=("celery", "{prod}:rq:queue:default", "celery\x06\x163", "two words"),
        refuses=("",),
    )
    yield no_longer_than(512, field)


def _command_line(field: str) -> Iterator[Constraint]:
    yield no_more_than(64, field, _names(65))
    yield no_longer_than(8192, f"{field}[]")


CONSTRAINTS: Final[tuple[Constraint, ...]] = (
    required("spec.version", "v1"),
    *version("spec.version"),
    Constraint(
        "the image's tag, made of version and template, is not longer than a tag may be",
        "spec",
        "version and image.tagTemplate together make an image tag of more than 128 characters",
        accepts=(
            {
                "version": "v" * 120,
                "image": {"repository": "a/b", "tagTemplate": "{version}-alpine"[:17]},
            },
        ),
        refuses=(
            {
                "version": "v" * 122,
                "image": {"repository": "a/b", "tagTemplate": "{version}-alpine"},
            },
        ),
    ),
    # --- image ------------------------------------------------------------------------------------
    required("spec.image", {"repository": "a/b"}),
    required("spec.image.repository", "a/b"),
    Constraint(
        "an image repository has neither scheme nor tag nor digest",
        "spec.image.repository",
        "must be an image name such as ghcr.io/acme/ops-agent-worker, without scheme, tag or digest",
        accepts=(
            "worker",
            "acme/worker",
            "ghcr.io/acme/ops-agent-worker",
            "10.200.0.2:5000/worker",
            "localhost:5000/a/b__c/d-e.f",
        ),
        refuses=(
            "",
            "https://ghcr.io/acme/worker",
            "ghcr.io/acme/worker:v1",
            "worker:v1",
            "ghcr.io/acme/worker@sha256:0000",
            "ghcr.io/Acme/worker",
            "ghcr.io/acme/",
            "/worker",
            "acme worker",
        ),
    ),
    no_longer_than(255, "spec.image.repository"),
    Constraint(
        "a tag template contains {version} once, and only what a tag may have",
        "spec.image.tagTemplate",
        "must contain {version} once",
        accepts=("{version}", "{version}-alpine", "ops-{version}", "_{version}.1"),
        refuses=(
            "",
            "latest",
            "{version}-{version}",
            "{tag}",
            "-{version}",
            "a b{version}",
            "{version}:x",
        ),
    ),
    no_longer_than(128, "spec.image.tagTemplate", longest="{version}" + "a" * 119),
    one_of("spec.image.pullPolicy", "Always", "IfNotPresent", "Never", wrong="Sometimes"),
    no_more_than(16, "spec.image.pullSecrets", _names(17)),
    without_duplicates("spec.image.pullSecrets", ["a", "b"], ["a", "a"]),
    *object_name("spec.image.pullSecrets[]"),
    # --- pin --------------------------------------------------------------------------------------
    Constraint(
        "a pin is to a version or to a revision",
        "spec.pin",
        "pin exactly one of version (a git tag) and revision",
        accepts=({"version": "v1"}, {"revision": "ops-agent-0f3a9c21d4", "reason": "v2 is slow"}),
        refuses=({}, {"reason": "x"}, {"version": "v1", "revision": "ops-agent-0f3a9c21d4"}),
    ),
    *version("spec.pin.version"),
    *object_name("spec.pin.revision"),
    no_longer_than(256, "spec.pin.reason"),
    *bounded("spec.replicas", 0, 1000),
    # --- queue ------------------------------------------------------------------------------------
    required("spec.queue", {"redis": {"urlFrom": SECRET_KEY}}),
    required("spec.queue.redis", {"urlFrom": SECRET_KEY}),
    required("spec.queue.redis.urlFrom", SECRET_KEY),
    required("spec.queue.redis.urlFrom.secretKeyRef", SECRET_KEY["secretKeyRef"]),
    *key_ref("spec.queue.redis.urlFrom.secretKeyRef"),
    required("spec.queue.redis.caFrom.secretKeyRef", SECRET_KEY["secretKeyRef"]),
    *key_ref("spec.queue.redis.caFrom.secretKeyRef"),
    Constraint(
        "a prefix is the beginning of Redis keys",
        "spec.queue.prefix",
        "must be the beginning of Redis keys",
        accepts=("orchestrator", "{prod}:orchestrator", "a.b_c-d"),
        refuses=("", "two words", "all*", "orchestrator?", "a[b]"),
    ),
    no_longer_than(64, "spec.queue.prefix"),
    no_more_than(32, "spec.queue.agents", _names(33)),
    without_duplicates("spec.queue.agents", ["ops", "ops_agent"], ["ops", "ops"]),
    Constraint(
        "an agent has a name",
        "spec.queue.agents[]",
        "must be an agent's name as in a task's assigned_to",
        accepts=("ops", "ops_agent", "ops-2.eu"),
        refuses=("", "ops,dev", "ops agent"),
    ),
    no_longer_than(63, "spec.queue.agents[]"),
    # --- queue of another system ------------------------------------------------------------------
    Constraint(
        "a queue is of a kind",
        "spec.queue.kind",
        KEYWORD_MESSAGES["enum"],
        accepts=("Orchestrator",),
        refuses=("Hash", "list", ""),
    ),
    Constraint(
        "every kind but the orchestrator's has a key",
        "spec.queue",
        "kind List, SortedSet or Stream needs key",
        accepts=(CELERY, ARQ, STREAM, {"kind": "Orchestrator"}),
        refuses=({"kind": "List"}, {"kind": "SortedSet"}, {"kind": "Stream", "group": "workers"}),
    ),
    Constraint(
        "the orchestrator's keys follow from its prefix",
        "spec.queue",
        "the keys of an Orchestrator follow from prefix",
        accepts=({"prefix": "prod"}, CELERY),
        refuses=({"key": "celery"}, {"inFlightKey": "unacked"}),
    ),
    Constraint(
        "a stream is read by a group",
        "spec.queue",
        "kind Stream needs group",
        accepts=(STREAM,),
        refuses=({"kind": "Stream", "key": "jobs"},),
    ),
    Constraint(
        "nothing but a stream is read by a group",
        "spec.queue",
        "only kind Stream has a group",
        accepts=(STREAM,),
        refuses=({"group": "workers"}, {**CELERY, "group": "workers"}, {**ARQ, "group": "workers"}),
    ),
    Constraint(
        "a stream tells itself what is in flight",
        "spec.queue",
        "the group of a Stream tells what is in flight",
        accepts=(STREAM, CELERY, {**ARQ, "inFlightKey": "busy"}),
        refuses=({**STREAM, "inFlightKey": "busy"},),
    ),
    Constraint(
        "who gets a task of another system is not read",
        "spec.queue",
        "prefix and agents are for kind Orchestrator",
        accepts=(
            CELERY,
            {**CELERY, "prefix": "orchestrator", "agents": ["ops", "ops_agent"]},
            {"prefix": "prod", "agents": []},
        ),
        refuses=(
            {**CELERY, "prefix": "prod"},
            {**ARQ, "agents": ["ops"]},
            {**STREAM, "agents": []},
        ),
    ),
    *_redis_name("spec.queue.key", "must be the name of a Redis key"),
    *_redis_name("spec.queue.inFlightKey", "must be the name of a Redis key"),
    *_redis_name("spec.queue.group", "must be the name of a consumer group"),
    Constraint(
        "a queue without run times has no time to wait for",
        "spec",
        "scaling.maxQueueWait needs the run times of tasks",
        accepts=(
            {"queue": CELERY, "scaling": {"tasksPerReplica": 2}},
            {"scaling": {"maxQueueWait": "1m"}},
        ),
        refuses=({"queue": CELERY, "scaling": {"maxQueueWait": "1m"}},),
    ),
    Constraint(
        "a queue without leases does not tell who is to be protected",
        "spec",
        "disruption.protectBusy needs to know which worker is busy",
        accepts=(
            {"queue": CELERY, "disruption": {"maxUnavailable": 1}},
            {"disruption": {"protectBusy": True}},
        ),
        refuses=({"queue": STREAM, "disruption": {"protectBusy": True}},),
    ),
    # --- scaling ----------------------------------------------------------------------------------
    Constraint(
        "the minimum is not above the maximum",
        "spec.scaling",
        "minReplicas must not be greater than maxReplicas",
        accepts=({"minReplicas": 3, "maxReplicas": 3}, {"minReplicas": 10}),
        refuses=({"minReplicas": 3, "maxReplicas": 2}, {"minReplicas": 11}),
    ),
    *bounded("spec.scaling.minReplicas", 0, 1000),
    *bounded("spec.scaling.maxReplicas", 1, 1000),
    *bounded("spec.scaling.tasksPerReplica", 1, 10_000),
    *duration("spec.scaling.scaleDown.stabilization", "0s", "-1s", "1h", "1h1ms"),
    *duration("spec.scaling.scaleDown.cooldownToZero", "0s", "-1s", "24h", "86400001ms"),
    *step("spec.scaling.scaleDown.maxStep"),
    *step("spec.scaling.scaleUp.maxStep"),
    *duration("spec.scaling.maxQueueWait", "1s", "999ms", "24h", "86400001ms"),
    *duration("spec.scaling.whenUnknown.after", "0s", "-1s", "24h", "86400001ms"),
    *bounded("spec.scaling.whenUnknown.replicas", 1, 1000),
    # --- worker -----------------------------------------------------------------------------------
    *bounded("spec.worker.concurrency", 1, 256),
    *duration("spec.worker.taskTimeout", "1s", "999ms", "24h", "24h1s"),
    *duration("spec.worker.lease", "3s", "2.999s", "1h", "61m"),
    Constraint(
        "the first wait before a retry is not longer than the longest",
        "spec.worker.retry",
        "backoff must not be longer than maxBackoff",
        accepts=({"backoff": "60s", "maxBackoff": "1m"}, {"backoff": "10m"}),
        refuses=({"backoff": "61s", "maxBackoff": "1m"}, {"backoff": "11m"}),
    ),
    *bounded("spec.worker.retry.maxAttempts", 1, 100),
    *duration("spec.worker.retry.backoff", "100ms", "99ms", "1h", "1.001h"),
    *duration("spec.worker.retry.maxBackoff", "100ms", "0s", "24h", "25h"),
    *duration("spec.worker.drainTimeout", "1s", "0s", "24h", "24h1s"),
    *duration("spec.worker.resultTTL", "1m", "59s", "8760h", "8761h"),
    *duration("spec.worker.pollInterval", "100ms", "99ms", "5m", "5m1s"),
    one_of("spec.worker.logLevel", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", wrong="info"),
    *_command_line("spec.worker.command"),
    *_command_line("spec.worker.args"),
    # --- worker: environment ----------------------------------------------------------------------
    no_more_than(64, "spec.worker.env", [{"name": name, "value": "x"} for name in _names(65)]),
    without_duplicates(
        "spec.worker.env",
        [{"name": "A", "value": "x"}, {"name": "B", "value": "x"}],
        [{"name": "A", "value": "x"}, {"name": "A", "value": "z"}],
    ),
    Constraint(
        "a variable has a value or a source",
        "spec.worker.env[]",
        "set exactly one of value and valueFrom",
        accepts=(
            {"name": "A", "value": ""},
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ),
        refuses=(
            {"name": "A"},
            {"name": "A", "value": "", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ),
    ),
    required("spec.worker.env[].name", "VERCEL_TEAM_ID"),
    Constraint(
        "a variable's name is one that a shell knows too",
        "spec.worker.env[].name",
        "must be the name of an environment variable",
        accepts=("VERCEL_TEAM_ID", "_x", "a1"),
        refuses=("", "1A", "A-B", "A B", "A=B", "A.B"),
    ),
    Constraint(
        "a variable of the operator cannot be set by hand",
        "spec.worker.env[].name",
        "are set by the operator: use spec.queue.redis.urlFrom",
        accepts=("REDIS_URL_2", "MY_OPSAGENT_NAME", "LOG_LEVELS", "VERCEL_TOKEN"),
        refuses=("REDIS_URL", "WORKER_POLL_INTERVAL", "LOG_LEVEL", "OPSAGENT_LEASE", "OPSAGENT_X"),
    ),
    no_longer_than(253, "spec.worker.env[].name"),
    no_longer_than(32768, "spec.worker.env[].value"),
    Constraint(
        "a source is one thing",
        "spec.worker.env[].valueFrom",
        "set exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
        accepts=(
            {"secretKeyRef": {"name": "vercel", "key": "token", "optional": True}},
            {"configMapKeyRef": {"name": "vercel", "key": "team"}},
            {"fieldRef": {"fieldPath": "spec.nodeName"}},
            {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
        ),
        refuses=(
            {},
            {
                "secretKeyRef": {"name": "vercel", "key": "token"},
                "configMapKeyRef": {"name": "vercel", "key": "team"},
            },
        ),
    ),
    *key_ref("spec.worker.env[].valueFrom.secretKeyRef"),
    *key_ref("spec.worker.env[].valueFrom.configMapKeyRef"),
    required("spec.worker.env[].valueFrom.fieldRef.fieldPath", "metadata.name"),
    Constraint(
        "a field is one that the downward API offers",
        "spec.worker.env[].valueFrom.fieldRef.fieldPath",
        "must be a pod field that the downward API offers",
        accepts=("metadata.uid", "metadata.labels['team']", "status.podIP", "status.hostIPs"),
        refuses=("", "metadata", "spec.containers", "metadata.labels", "metadata.labels[team]"),
    ),
    no_longer_than(
        400,
        "spec.worker.env[].valueFrom.fieldRef.fieldPath",
        longest="metadata.labels['" + "a" * 381 + "']",
    ),
    required("spec.worker.env[].valueFrom.resourceFieldRef.resource", "limits.cpu"),
    Constraint(
        "a resource is one of the container's",
        "spec.worker.env[].valueFrom.resourceFieldRef.resource",
        "must be limits or requests of cpu, memory or ephemeral-storage",
        accepts=("limits.cpu", "requests.memory", "limits.ephemeral-storage"),
        refuses=("", "cpu", "limits", "limits.gpu"),
    ),
    no_longer_than(
        64,
        "spec.worker.env[].valueFrom.resourceFieldRef.resource",
        longest="requests.ephemeral-storage",
    ),
    *quantity("spec.worker.env[].valueFrom.resourceFieldRef.divisor"),
    no_more_than(16, "spec.worker.envFrom", [{"secretRef": {"name": name}} for name in _names(17)]),
    Constraint(
        "variables come from a Secret or from a ConfigMap",
        "spec.worker.envFrom[]",
        "set exactly one of secretRef and configMapRef",
        accepts=(
            {"secretRef": {"name": "vercel", "optional": True}},
            {"configMapRef": {"name": "a"}},
        ),
        refuses=({}, {"prefix": "A_"}, {"secretRef": {"name": "a"}, "configMapRef": {"name": "a"}}),
    ),
    Constraint(
        "a prefix of variables is the beginning of a name",
        "spec.worker.envFrom[].prefix",
        "must be the beginning of an environment variable's name",
        accepts=("", "VERCEL_", "a1"),
        refuses=("1_", "A-", "A "),
    ),
    no_longer_than(64, "spec.worker.envFrom[].prefix"),
    required("spec.worker.envFrom[].secretRef.name", "vercel"),
    *object_name("spec.worker.envFrom[].secretRef.name"),
    required("spec.worker.envFrom[].configMapRef.name", "vercel"),
    *object_name("spec.worker.envFrom[].configMapRef.name"),
    # --- worker: the pod --------------------------------------------------------------------------
    Constraint(
        "a pod does not request more than it may use",
        "spec.worker.resources",
        "requests must not be greater than limits",
        accepts=(
            {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"cpu": 1, "memory": "1024Mi"},
            },
            {"requests": {"cpu": 4}, "limits": {"memory": "1Gi"}},
            {"requests": {"cpu": 4}},
            {},
        ),
        refuses=(
            {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}},
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}},
        ),
    ),
    no_more_entries_than(16, "spec.worker.resources.requests", "1"),
    map_keys("spec.worker.resources.requests", "1"),
    *quantity("spec.worker.resources.requests{}"),
    no_more_entries_than(16, "spec.worker.resources.limits", "1"),
    map_keys("spec.worker.resources.limits", "1"),
    *quantity("spec.worker.resources.limits{}"),
    no_more_entries_than(16, "spec.worker.nodeSelector", "x"),
    map_keys("spec.worker.nodeSelector", "x"),
    *label_value("spec.worker.nodeSelector{}"),
    no_more_than(16, "spec.worker.tolerations", [{"key": name} for name in _names(17)]),
    Constraint(
        "a toleration of every taint says so",
        "spec.worker.tolerations[]",
        "without a key every taint is tolerated: say so with operator Exists",
        accepts=({"operator": "Exists"}, {"key": "dedicated"}),
        refuses=({}, {"effect": "NoSchedule"}, {"operator": "Equal"}),
    ),
    Constraint(
        "only an equal value is compared",
        "spec.worker.tolerations[]",
        "a value is compared with operator Equal only",
        accepts=({"key": "dedicated", "value": "ops"},),
        refuses=({"key": "dedicated", "operator": "Exists", "value": "ops"},),
    ),
    Constraint(
        "only an eviction can be delayed",
        "spec.worker.tolerations[]",
        "tolerationSeconds needs effect NoExecute",
        accepts=({"key": "dedicated", "effect": "NoExecute", "tolerationSeconds": 60},),
        refuses=(
            {"key": "dedicated", "tolerationSeconds": 60},
            {"key": "dedicated", "effect": "NoSchedule", "tolerationSeconds": 60},
        ),
    ),
    *label_key("spec.worker.tolerations[].key"),
    one_of("spec.worker.tolerations[].operator", "Exists", "Equal", wrong="In"),
    *label_value("spec.worker.tolerations[].value"),
    one_of(
        "spec.worker.tolerations[].effect",
        "NoSchedule",
        "PreferNoSchedule",
        "NoExecute",
        wrong="Evict",
    ),
    *bounded("spec.worker.tolerations[].tolerationSeconds", 0, 2**31 - 1),
    no_more_than(
        8, "spec.worker.topologySpreadConstraints", [{"topologyKey": name} for name in _names(9)]
    ),
    without_duplicates(
        "spec.worker.topologySpreadConstraints",
        [
            {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
        ],
        [{"topologyKey": "zone"}, {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    ),
    Constraint(
        "a number of domains can only be insisted on",
        "spec.worker.topologySpreadConstraints[]",
        "minDomains needs whenUnsatisfiable DoNotSchedule",
        accepts=({"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2},),
        refuses=({"topologyKey": "zone", "minDomains": 2},),
    ),
    *bounded("spec.worker.topologySpreadConstraints[].maxSkew", 1, 1000),
    required("spec.worker.topologySpreadConstraints[].topologyKey", "zone"),
    *label_key("spec.worker.topologySpreadConstraints[].topologyKey"),
    one_of(
        "spec.worker.topologySpreadConstraints[].whenUnsatisfiable",
        "DoNotSchedule",
        "ScheduleAnyway",
        wrong="Never",
    ),
    *bounded("spec.worker.topologySpreadConstraints[].minDomains", 1, 1000),
    *object_name("spec.worker.priorityClassName"),
    *object_name("spec.worker.serviceAccountName"),
    no_more_entries_than(32, "spec.worker.podLabels", "x"),
    map_keys("spec.worker.podLabels", "x"),
    unreserved("spec.worker.podLabels"),
    *label_value("spec.worker.podLabels{}"),
    no_more_entries_than(32, "spec.worker.podAnnotations", "x"),
    map_keys("spec.worker.podAnnotations", "x"),
    unreserved("spec.worker.podAnnotations"),
    no_longer_than(16384, "spec.worker.podAnnotations{}"),
    # --- release ----------------------------------------------------------------------------------
    *duration("spec.release.progressDeadline", "1s", "999ms", "1h", "1h1s"),
    *bounded("spec.release.historyLimit", 1, 100),
    # --- disruption -------------------------------------------------------------------------------
    *step("spec.disruption.maxUnavailable", most="100%"),
    Constraint(
        sentence="no more workers than there are can be missing",
        field="spec.disruption.maxUnavailable",
        says="must not be more than 100%",
        accepts=("9%", "100%", 1000),
        refuses=("101%", "999%"),
    ),
)
