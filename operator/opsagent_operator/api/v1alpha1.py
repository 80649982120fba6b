"""OpsAgentWorker, `opsagent.dev/v1alpha1`: the models the CustomResourceDefinition is generated from.

Every default, bound and rule of the API stands here (or in `pod.py`, `names.py` and `status.py`, which this module is
made of); `crd.py` only translates. Code elsewhere imports the models from here, whichever file they stand in.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from opsagent_operator.api.duration import Duration, between, not_longer, parse_duration
from opsagent_operator.api.names import (
    IMAGE_TAG_MAX_LENGTH,
    AgentName,
    ImageRepository,
    ObjectName,
    QueuePrefix,
    RedisKey,
    TagTemplate,
    Version,
    not_empty,
)
from opsagent_operator.api.pod import (
    Affinity,
    CommandLine,
    EnvFromSource,
    EnvVar,
    NodeSelector,
    PodAnnotations,
    PodLabels,
    Resources,
    SecretKeyRef,
    SecretKeySource,
    Toleration,
    TopologySpreadConstraint,
)
from opsagent_operator.api.schema import ApiModel, Rule, list_type, map_list, rules
from opsagent_operator.api.status import (
    Condition,
    Decision,
    HistoryEntry,
    OpsAgentWorkerStatus,
    QueueStatus,
    ReleaseStatus,
    RevisionStatus,
    WorkersStatus,
)
from opsagent_operator.api.step import Step, parse_step

__all__ = [
    "CATEGORIES",
    "GROUP",
    "KIND",
    "MAX_REPLICAS",
    "NAME_MAX_LENGTH",
    "PLURAL",
    "SHORT_NAMES",
    "SINGULAR",
    "VERSION",
    "Affinity",
    "Condition",
    "Decision",
    "Disruption",
    "EnvFromSource",
    "EnvVar",
    "HistoryEntry",
    "Image",
    "OpsAgentWorkerSpec",
    "OpsAgentWorkerStatus",
    "Pin",
    "Queue",
    "QueueStatus",
    "RedisConnection",
    "ReleasePolicy",
    "ReleaseStatus",
    "Resources",
    "Retry",
    "RevisionStatus",
    "ScaleDown",
    "ScaleUp",
    "Scaling",
    "SecretKeyRef",
    "SecretKeySource",
    "Toleration",
    "TopologySpreadConstraint",
    "WhenUnknown",
    "WorkerTemplate",
    "WorkersStatus",
]

GROUP: Final = "opsagent.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "OpsAgentWorker"
PLURAL: Final = "opsagentworkers"
SINGULAR: Final = "opsagentworker"
SHORT_NAMES: Final = ["oaw"]
CATEGORIES: Final = ["opsagent"]

# A revision is called <name>-<10 hex digits>, its pods <revision>-<≤10 characters>-<5 characters>; with 35 characters
# all of that is a DNS label (63), so that pod names are never cut and can serve as host names.
NAME_MAX_LENGTH: Final = 35
MAX_REPLICAS: Final = 1000


class Image(ApiModel):
    """The worker's container image."""

    repository: ImageRepository
    """Image name without tag, such as ghcr.io/acme/ops-agent-worker."""

    tag_template: TagTemplate = "{version}"
    """How the image's tag follows from spec.version, such as "{version}-alpine"."""

    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the node pulls the image."""

    pull_secrets: Annotated[tuple[ObjectName, ...], Field(max_length=16), list_type("set")] = ()
    """Names of the Secrets (type kubernetes.io/dockerconfigjson) to pull the image with."""


class Pin(ApiModel):
    """Holds the worker at an earlier release, whatever spec.version says."""

    model_config = rules(
        Rule(
            "has(self.version) != has(self.revision)",
            "pin exactly one of version (a git tag) and revision (a name from"
            " status.release.history)",
        )
    )

    version: Version | None = None
    """The git tag to stay at, such as v1.0.0-stable-20251022."""

    revision: ObjectName | None = None
    """The revision to stay at: a name from status.release.history, such as ops-agent-0f3a9c21d4."""

    reason: Annotated[str, Field(max_length=256)] = ""
    """Why, for those who find it pinned, such as "v1.1.0 fails on preview deployments"."""


class RedisConnection(ApiModel):
    """How to reach Redis. The URL holds a password and so comes from a Secret; it cannot be written here."""

    url_from: SecretKeySource
    """The Secret with the URL: redis://…, rediss://… for TLS, or redis+sentinel://… (docs/redis.md)."""

    ca_from: SecretKeySource | None = None
    """The Secret with the CA certificates (PEM) that Redis' certificate is checked against. Default: the public CAs."""

    allow_insecure_tls: Annotated[bool, Field(alias="allowInsecureTLS")] = False
    """Accept a URL that switches certificate verification off (ssl_cert_reqs=none). Only for tests."""


QUEUE_PREFIX: Final = "orchestrator"
AGENTS: Final = ("ops", "ops_agent")


class Queue(ApiModel):
    """The queue this worker takes its tasks from."""

    model_config = rules(
        Rule(
            "self.kind == 'Orchestrator' || has(self.key)",
            "kind List, SortedSet or Stream needs key: the Redis key that its tasks wait in, such"
            " as celery",
        ),
        Rule(
            "self.kind != 'Orchestrator' || !has(self.key) && !has(self.inFlightKey)",
            "key and inFlightKey are for the other kinds: the keys of an Orchestrator follow from"
            " prefix",
        ),
        Rule(
            "self.kind != 'Stream' || has(self.group)",
            "kind Stream needs group: the consumer group that its workers read with",
        ),
        Rule("self.kind == 'Stream' || !has(self.group)", "only kind Stream has a group"),
        Rule(
            "self.kind != 'Stream' || !has(self.inFlightKey)",
            "the group of a Stream tells what is in flight: remove inFlightKey",
        ),
        Rule(
            f"self.kind == 'Orchestrator' || self.prefix == '{QUEUE_PREFIX}'"
            f" && self.agents == {list(AGENTS)}",
            "prefix and agents are for kind Orchestrator: every task of another kind is counted",
        ),
    )

    redis: RedisConnection
    """How to reach Redis."""

    kind: Literal["Orchestrator", "List", "SortedSet", "Stream"] = "Orchestrator"
    """What the queue is. The other kinds are Redis keys of another system, such as Celery, RQ, arq or BullMQ, whose
    worker runs in an image of its own (docs/plain-queues.md)."""

    key: RedisKey | None = None
    """With kind List, SortedSet or Stream: the key that tasks wait in, such as celery."""

    group: Annotated[str, Field(max_length=512), not_empty("a consumer group")] | None = None
    """With kind Stream: the consumer group that the workers read with."""

    in_flight_key: RedisKey | None = None
    """With kind List or SortedSet: the key of what is being worked on, such as unacked, as a list, set, sorted set, hash
    or stream. Default: it is not known, and a worker may be told to stop while it works."""

    prefix: QueuePrefix = QUEUE_PREFIX
    """With kind Orchestrator: beginning of the orchestrator's Redis keys, without the colon after it."""

    agents: Annotated[tuple[AgentName, ...], Field(max_length=32), list_type("set")] = AGENTS
    """With kind Orchestrator: take tasks whose assigned_to is one of these; never touch others. An empty list takes
    every task."""

    @property
    def plain(self) -> bool:
        """Whether another system keeps the queue: no leases, heartbeats, drain marks and gate."""
        return self.kind != "Orchestrator"


class ScaleUp(ApiModel):
    """How boldly workers are added."""

    max_step: Step | None = None
    """Workers to add at most every 5 seconds: a number, or a percentage of those there are. Default: all at once."""


class ScaleDown(ApiModel):
    """How carefully workers are taken away."""

    stabilization: Annotated[Duration, between("0s", "1h")] = parse_duration("60s")
    """Scale to the highest number that was wanted within this time, so that a short lull takes no worker away."""

    cooldown_to_zero: Annotated[Duration, between("0s", "24h")] = parse_duration("2m")
    """How long the queue must have been empty before the last worker goes."""

    max_step: Step = parse_step("50%")
    """Workers to take away at most in one step: a number, or a percentage of those there are. Between two steps passes
    the stabilization time, but at least 1 and at most 15 seconds."""


class WhenUnknown(ApiModel):
    """What to do while nobody can say how long the queue is. Workers that run are never taken away meanwhile."""

    after: Annotated[Duration, between("0s", "24h")] = parse_duration("2m")
    """How long to wait for the queue before replicas applies. For as long, a queue that is suddenly empty after its
    Redis was restarted or replaced is not believed."""

    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] | None = None
    """Workers that then run at least, within minReplicas and maxReplicas. Default: those that run already."""


class Scaling(ApiModel):
    """How many workers run, by the depth of the queue."""

    model_config = rules(
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not be greater than maxReplicas",
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 0
    """Workers that run even when the queue is empty."""

    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 10
    """Workers that run at most, however long the queue is."""

    tasks_per_replica: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Tasks, waiting and running, for which there is one worker. Default: worker.concurrency, unless maxQueueWait is
    set."""

    max_queue_wait: Annotated[Duration, between("1s", "24h")] | None = None
    """Time in which the waiting tasks should have been started, given how long tasks have lately taken: as many workers
    run as that needs, or as tasksPerReplica asks for if it is set too and asks for more. Until run times are known,
    worker.concurrency decides. Default: only the number of tasks counts, not how long they take."""

    scale_up: ScaleUp = ScaleUp()
    """How boldly workers are added."""

    scale_down: ScaleDown = ScaleDown()
    """How carefully workers are taken away."""

    when_unknown: WhenUnknown = WhenUnknown()
    """What to do while nobody can say how long the queue is."""


class Retry(ApiModel):
    """What happens to a task that failed for a reason that may pass."""

    model_config = rules(
        not_longer("backoff", "maxBackoff", "backoff must not be longer than maxBackoff")
    )

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 4
    """Attempts in all, the first one included; 1 means no retry."""

    backoff: Annotated[Duration, between("100ms", "1h")] = parse_duration("10s")
    """Wait before the second attempt; doubled, with jitter, before each further one."""

    max_backoff: Annotated[Duration, between("100ms", "24h")] = parse_duration("10m")
    """Longest wait between two attempts."""


class WorkerTemplate(ApiModel):
    """How each worker works, and the pod it runs in."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Tasks one worker runs at the same time."""

    task_timeout: Annotated[Duration, between("1s", "24h")] = parse_duration("5m")
    """Time one attempt of a task may take; after it the attempt has failed and counts."""

    lease: Annotated[Duration, between("3s", "1h")] = parse_duration("30s")
    """How long a task belongs to a worker that has gone silent: after it another worker takes the task over. A living
    worker renews its leases, so this need not cover the task's run time."""

    retry: Retry = Retry()
    """What happens to a task that failed for a reason that may pass."""

    drain_timeout: Annotated[Duration, between("1s", "24h")] = parse_duration("10m")
    """Time a worker that is told to stop has for the tasks it is running. What is not finished then goes back to the
    queue. The pod's terminationGracePeriodSeconds is this and 15 seconds."""

    result_ttl: Annotated[Duration, between("1m", "8760h"), Field(alias="resultTTL")] = (
        parse_duration("168h")
    )
    """How long the record of a finished task stays in Redis."""

    poll_interval: Annotated[Duration, between("100ms", "5m")] = parse_duration("5s")
    """How often to look for tasks when no event has come. New tasks are announced by events and start at once; this
    is the safety net. Becomes WORKER_POLL_INTERVAL."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Least important messages that are logged. Becomes LOG_LEVEL."""

    command: CommandLine = ()
    """What to run in place of the image's entrypoint, such as [celery]."""

    args: CommandLine = ()
    """Its arguments, in place of those in the image. $(NAME) becomes the value of the variable NAME, such as
    --broker=$(REDIS_URL)."""

    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), map_list("name")] = ()
    """Environment variables, such as VERCEL_TEAM_ID. Wins over envFrom."""

    env_from: Annotated[tuple[EnvFromSource, ...], Field(max_length=16), list_type("atomic")] = ()
    """Secrets and ConfigMaps whose keys become environment variables, such as one with VERCEL_TOKEN. What the operator
    sets itself wins over a key of the same name."""

    resources: Resources = Resources()
    """CPU and memory of each pod."""

    node_selector: NodeSelector = Field(default_factory=dict)
    """Labels a node must have to run workers, such as {kubernetes.io/arch: amd64}."""

    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16), list_type("atomic")] = ()
    """Taints of nodes that do not keep workers away."""

    affinity: Affinity | None = None
    """Rules that tie the workers to nodes or to other pods."""

    topology_spread_constraints: Annotated[
        tuple[TopologySpreadConstraint, ...],
        Field(max_length=8),
        map_list("topologyKey", "whenUnsatisfiable"),
    ] = ()
    """How the workers are spread over zones or nodes."""

    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. Default: the cluster's default."""

    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods, whose token is then mounted. Default: the namespace's default account, and no token."""

    pod_labels: PodLabels = Field(default_factory=dict)
    """More labels for the pods, such as {team: ops}. A change makes a new revision."""

    pod_annotations: PodAnnotations = Field(default_factory=dict)
    """More annotations for the pods. A change makes a new revision."""


class ReleasePolicy(ApiModel):
    """How a new version takes over from the old one."""

    progress_deadline: Annotated[Duration, between("1s", "1h")] = parse_duration("2m")
    """Time a new version has to become ready. After it the release has failed, and the old version keeps serving."""

    history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """Old revisions that are kept to roll back to."""


class Disruption(ApiModel):
    """What others may do to running workers: people who drain nodes, and autoscalers that remove them."""

    max_unavailable: Annotated[
        Step,
        Rule(
            "type(self) == int || self.size() < 4 || self == '100%'",
            "must not be more than 100%",
        ),
    ] = parse_step("25%")
    """Workers that may be missing at a time because of evictions: a number, or a percentage of those there are, rounded
    up. Becomes the PodDisruptionBudget of the worker's name."""

    protect_busy: bool = False
    """Ask Karpenter and the cluster autoscaler to leave a node alone while a worker on it runs tasks, by annotations on
    the pod."""


class OpsAgentWorkerSpec(ApiModel):
    """What should run."""

    model_config = rules(
        Rule(
            "self.version.size() + self.image.tagTemplate.size() - '{version}'.size()"
            f" <= {IMAGE_TAG_MAX_LENGTH}",
            "version and image.tagTemplate together make an image tag of more than"
            f" {IMAGE_TAG_MAX_LENGTH} characters; shorten one of them",
        ),
        Rule(
            "self.queue.kind == 'Orchestrator' || !has(self.scaling.maxQueueWait)",
            "scaling.maxQueueWait needs the run times of tasks, which only kind Orchestrator tells:"
            " remove it, and set scaling.tasksPerReplica",
        ),
        Rule(
            "self.queue.kind == 'Orchestrator' || !self.disruption.protectBusy",
            "disruption.protectBusy needs to know which worker is busy, which only kind Orchestrator"
            " tells: remove it",
        ),
    )

    version: Version
    """The release to run: a git tag, such as v1.0.0-stable-20251022. The image's tag follows from it."""

    image: Image
    """The worker's container image."""

    pin: Pin | None = None
    """Holds the worker at an earlier release, whatever version says, until the pin is removed."""

    paused: bool = False
    """Emergency stop: no task is started any more, running ones finish, then the workers go."""

    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] | None = None
    """A fixed number of workers; switches scaling by the queue off until it is removed. Also `kubectl scale`."""

    queue: Queue
    """The queue this worker takes its tasks from."""

    scaling: Scaling = Scaling()
    """How many workers run, by the depth of the queue."""

    worker: WorkerTemplate = WorkerTemplate()
    """How each worker works, and the pod it runs in."""

    release: ReleasePolicy = ReleasePolicy()
    """How a new version takes over from the old one."""

    disruption: Disruption = Disruption()
    """What others may do to running workers: people who drain nodes, and autoscalers that remove them."""
