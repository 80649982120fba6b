"""The parts of a pod that a user may shape, in Kubernetes' own words.

Deliberately no pod spec: nothing here can mount a host path or raise privileges.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from opsagent_operator.api.names import (
    DataKey,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    keys,
    matches,
    unreserved_keys,
)
from opsagent_operator.api.schema import ApiModel, Keywords, Rule, list_type, rules

RESERVED_ENV_NAMES: Final = ("REDIS_URL", "WORKER_POLL_INTERVAL", "LOG_LEVEL")
RESERVED_ENV_PREFIX: Final = "OPSAGENT_"


class SecretKeyRef(ApiModel):
    """One key of a Secret in the object's own namespace."""

    name: ObjectName
    """Name of the Secret."""

    key: DataKey
    """Key in the Secret's data."""


class SecretKeySource(ApiModel):
    """A value that is read from a Secret."""

    secret_key_ref: SecretKeyRef
    """The Secret and the key in it that hold the value."""


class OptionalSecretKeyRef(SecretKeyRef):
    """One key of a Secret in the object's own namespace, which may be allowed to be missing."""

    optional: bool = False
    """Start the worker without the variable when the Secret or the key does not exist."""


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the object's own namespace."""

    name: ObjectName
    """Name of the ConfigMap."""

    key: DataKey
    """Key in the ConfigMap's data."""

    optional: bool = False
    """Start the worker without the variable when the ConfigMap or the key does not exist."""


class FieldRef(ApiModel):
    """A field of the worker's pod."""

    field_path: Annotated[
        str,
        Field(max_length=400),
        matches(
            r"^(metadata\.(name|namespace|uid|(labels|annotations)\['[-A-Za-z0-9_./]+'\])"
            r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$",
            "must be a pod field that the downward API offers, such as metadata.name,"
            " spec.nodeName or status.podIP",
        ),
    ]
    """Path of the field: metadata.name, metadata.namespace, metadata.uid, metadata.labels['team'],
    metadata.annotations['team'], spec.nodeName, spec.serviceAccountName, status.hostIP or status.podIP."""


class ResourceFieldRef(ApiModel):
    """A resource of the worker's container."""

    resource: Annotated[
        str,
        Field(max_length=64),
        matches(
            r"^(limits|requests)\.(cpu|memory|ephemeral-storage)$",
            "must be limits or requests of cpu, memory or ephemeral-storage, such as limits.cpu",
        ),
    ]
    """The resource, such as limits.cpu or requests.memory."""

    divisor: Quantity | None = None
    """Unit of the value, such as 1m or 1Mi. Default: 1."""


class EnvVarSource(ApiModel):
    """Where an environment variable's value comes from: exactly one of the fields."""

    model_config = rules(
        Rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef),"
            " has(self.resourceFieldRef)].filter(given, given).size() == 1",
            "set exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
        )
    )

    secret_key_ref: OptionalSecretKeyRef | None = None
    """A key of a Secret in this namespace."""

    config_map_key_ref: ConfigMapKeyRef | None = None
    """A key of a ConfigMap in this namespace."""

    field_ref: FieldRef | None = None
    """A field of the pod."""

    resource_field_ref: ResourceFieldRef | None = None
    """A resource of the container."""


class EnvVar(ApiModel):
    """An environment variable of the worker: a name, and either a value or where it comes from."""

    model_config = rules(
        Rule(
            "has(self.value) != has(self.valueFrom)",
            "set exactly one of value and valueFrom",
        )
    )

    name: Annotated[
        str,
        Field(max_length=253),
        matches(
            "^[A-Za-z_][A-Za-z0-9_]*$",
            "must be the name of an environment variable: letters, digits and '_', not starting"
            " with a digit",
        ),
        Rule(
            f"!(self in {list(RESERVED_ENV_NAMES)}) && !self.startsWith('{RESERVED_ENV_PREFIX}')",
            "REDIS_URL, WORKER_POLL_INTERVAL, LOG_LEVEL and names that begin with OPSAGENT_ are set"
            " by the operator: use spec.queue.redis.urlFrom, spec.worker.pollInterval,"
            " spec.worker.logLevel and the other fields of spec instead",
        ),
    ]
    """Name of the variable, such as VERCEL_TEAM_ID. What the operator sets itself (REDIS_URL, WORKER_POLL_INTERVAL,
    LOG_LEVEL, OPSAGENT_*) is refused."""

    value: Annotated[str, Field(max_length=32768)] | None = None
    """The value as it is. Never put a secret here: everyone who may read the object sees it."""

    value_from: EnvVarSource | None = None
    """Where to read the value from when the worker starts."""


class EnvFromObject(ApiModel):
    """A Secret or ConfigMap in the object's own namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""

    optional: bool = False
    """Start the worker without these variables when the object does not exist."""


class EnvFromSource(ApiModel):
    """Every key of one Secret or ConfigMap as an environment variable."""

    model_config = rules(
        Rule(
            "has(self.secretRef) != has(self.configMapRef)",
            "set exactly one of secretRef and configMapRef",
        )
    )

    prefix: (
        Annotated[
            str,
            Field(max_length=64),
            matches(
                "^([A-Za-z_][A-Za-z0-9_]*)?$",
                "must be the beginning of an environment variable's name: letters, digits and '_',"
                " not starting with a digit",
            ),
        ]
        | None
    ) = None
    """Put in front of each key. Default: nothing."""

    secret_ref: EnvFromObject | None = None
    """The Secret whose keys become variables."""

    config_map_ref: EnvFromObject | None = None
    """The ConfigMap whose keys become variables."""


Quantities = Annotated[
    dict[str, Quantity],
    Field(max_length=16),
    keys("a resource's name such as cpu, memory or example.com/gpu"),
]


class Resources(ApiModel):
    """CPU and memory of one worker pod, as in a container's resources."""

    model_config = rules(
        Rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(name,"
            " !(name in self.limits) || !isQuantity(string(self.requests[name]))"
            " || !isQuantity(string(self.limits[name]))"
            " || !quantity(string(self.requests[name]))"
            ".isGreaterThan(quantity(string(self.limits[name]))))",
            "requests must not be greater than limits",
        )
    )

    requests: Quantities = Field(default_factory=dict)
    """What is reserved for the pod, such as {cpu: 100m, memory: 256Mi}."""

    limits: Quantities = Field(default_factory=dict)
    """What the pod may use at most, such as {cpu: 1, memory: 512Mi}."""


class Toleration(ApiModel):
    """Lets the worker run on nodes with a matching taint."""

    model_config = rules(
        Rule(
            "has(self.key) || self.operator == 'Exists'",
            "without a key every taint is tolerated: say so with operator Exists",
        ),
        Rule(
            "!has(self.value) || self.operator == 'Equal'",
            "a value is compared with operator Equal only",
        ),
        Rule(
            "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            "tolerationSeconds needs effect NoExecute",
        ),
    )

    key: LabelKey | None = None
    """Key of the taint. Without it, operator must be Exists, and every taint is tolerated."""

    operator: Literal["Exists", "Equal"] = "Equal"
    """Equal compares the value too; Exists is content with the key."""

    value: LabelValue | None = None
    """Value of the taint, with operator Equal."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: all effects."""

    toleration_seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """How many seconds a pod stays after a NoExecute taint came. Default: for ever."""


class TopologySpreadConstraint(ApiModel):
    """Spreads the workers over zones or nodes. The operator selects this object's own pods: there is no labelSelector."""

    model_config = rules(
        Rule(
            "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            "minDomains needs whenUnsatisfiable DoNotSchedule",
        )
    )

    max_skew: Annotated[int, Field(ge=1, le=1000)] = 1
    """By how many pods two domains may differ."""

    topology_key: LabelKey
    """Node label whose values are the domains, such as topology.kubernetes.io/zone."""

    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """What to do with a pod that fits nowhere: leave it pending, or run it all the same."""

    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The number of domains there should be at least; only with DoNotSchedule."""


_AffinityPart = Annotated[
    dict[str, Any], Keywords({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]


class Affinity(ApiModel):
    """Rules that tie the workers to nodes or to other pods, as in a pod's affinity.

    The three parts are handed to Kubernetes as they are; it checks them when the Deployment is written.
    """

    node_affinity: _AffinityPart | None = None
    """As in a pod: requiredDuringSchedulingIgnoredDuringExecution and preferred…."""

    pod_affinity: _AffinityPart | None = None
    """As in a pod: run near pods with certain labels."""

    pod_anti_affinity: _AffinityPart | None = None
    """As in a pod: keep away from pods with certain labels."""


CommandLine = Annotated[
    tuple[Annotated[str, Field(max_length=8192)], ...], Field(max_length=64), list_type("atomic")
]

NodeSelector = Annotated[
    dict[str, LabelValue],
    Field(max_length=16),
    keys("a label's key such as team or example.com/team"),
]

PodLabels = Annotated[
    dict[str, LabelValue],
    Field(max_length=32),
    keys("a label's key such as team or example.com/team"),
    unreserved_keys(),
]

PodAnnotations = Annotated[
    dict[str, Annotated[str, Field(max_length=16384)]],
    Field(max_length=32),
    keys("an annotation's key such as team or example.com/team"),
    unreserved_keys(),
]
