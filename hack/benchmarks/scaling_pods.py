"""What only real pods show: how soon a task starts from zero, and that nobody busy is taken away."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from redis import Redis

from benchmarks.failure import BenchmarkError
from demo import manifests
from demo.ledger import Announcements, take_stock
from demo.producer import Order, Producer
from demo.stage import Stage, set_up
from devcluster import testrun
from devcluster.environment import without_proxies
from devcluster.progress import say
from opsagent_operator.kube.client import DEPLOYMENTS, PODS, Kube
from opsagent_operator.manifests.labels import WORKER as OWNER_LABEL
from opsagent_queue import Keys

NAMESPACE: Final = "benchmark"
WORKERS: Final = 20
STAYING: Final = 10
LONG_SECONDS: Final = 59.0
"""A `monitor` task waits a minute for its answer at most."""
PATIENCE_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.25
_TOGETHER: Final = 5
"""Workers that are started at the same time."""

Spec = Mapping[str, Any]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One task for nobody, twice. Seconds until the worker says that it has started it."""

    scaled_seconds: float
    """From before the task is enqueued; the operator starts the worker."""
    bare_seconds: float
    """From before a pod with the same template is created, by nobody but us, for a task that waits."""


class ScaleIn(msgspec.Struct, frozen=True, kw_only=True):
    """Half of the workers are no longer needed, the other half has just begun a long task."""

    workers: int
    removed: int
    long_seconds: float
    lowered_seconds: float
    """From the end of the short tasks until the Deployment asked for so many fewer."""
    gone_seconds: float
    """Until the pods were on their way out."""
    busy_removed: int
    """Pods that were taken although they held a task."""
    tasks: int
    lost: int
    failed: int
    interrupted: int
    """Tasks that were begun more than once, or whose request was hung up before its answer."""
    attempts_burnt: int
    """The sum of all `retry_count`s, in the orchestrator's records."""


def measure(*, starts: int, scale_ins: int) -> tuple[list[Start], list[ScaleIn]]:
    """So many rounds of each, on one cluster."""
    with _stage() as stage, stage.backing.redis() as redis:
        return list(_starts(stage, redis, starts)), list(_scale_ins(stage, redis, scale_ins))


def _starts(stage: Stage, redis: "Redis", rounds: int) -> Iterator[Start]:
    """A start by the operator and a bare one take turns."""
    scene = _Scene(stage, redis, "start", {"maxReplicas": 1, **_AT_ONCE})
    scene.until_at_rest()
    for number in range(1, rounds + 1):
        found = Start(scaled_seconds=scene.start(), bare_seconds=scene.start_bare())
        say(
            f"start {number} of {rounds}: {found.scaled_seconds:.2f} s,"
            f" a bare pod {found.bare_seconds:.2f} s"
        )
        yield found


def _scale_ins(stage: Stage, redis: "Redis", rounds: int) -> Iterator[ScaleIn]:
    """Down from 20 workers to the 10 that are busy."""
    scene = _Scene(stage, redis, "scale-in", {"maxReplicas": WORKERS, **_AT_ONCE})
    scene.until_at_rest()
    for number in range(1, rounds + 1):
        found = scene.scale_in(number)
        say(
            f"scale-in {number} of {rounds}: {found.removed} of {found.workers} workers gone after"
            f" {found.gone_seconds:.1f} s, {found.interrupted} tasks interrupted"
        )
        yield found
        scene.until_at_rest()


_AT_ONCE: Final[Spec] = {
    "tasksPerReplica": 1,
    "scaleDown": {"stabilization": "1s", "cooldownToZero": "1s"},
}


@contextmanager
def _stage() -> Iterator[Stage]:
    provider = testrun.node()
    testrun.clear_abandoned()
    try:
        yield set_up(provider, namespace="benchmark-backing")
    finally:
        provider.delete()


@dataclass
class _Scene:
    """One object, and its queue."""

    stage: Stage
    redis: "Redis"
    name: str
    scaling: Spec
    announcements: Announcements = field(init=False)

    def __post_init__(self) -> None:
        os.environ.update({**without_proxies(), "KUBECONFIG": str(self.stage.provider.kubeconfig)})
        credentials = self.stage.backing.credentials()
        self.stage.provider.client.apply(
            manifests.namespace(NAMESPACE),
            manifests.secret(self.name, namespace=NAMESPACE, values=credentials),
            {
                "apiVersion": "opsagent.dev/v1alpha1",
                "kind": "OpsAgentWorker",
                "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": self._spec(),
            },
        )
        self.announcements = Announcements.of(self.redis, self.keys)

    def _spec(self) -> Spec:
        url = {"secretKeyRef": {"name": self.name, "key": "REDIS_URL"}}
        template = manifests.ops_agent(namespace=NAMESPACE, image=self.stage.images.worker_image)
        return {
            "image": template["spec"]["image"],
            "version": template["spec"]["version"],
            "queue": {"prefix": self.keys.prefix, "redis": {"urlFrom": url}},
            "scaling": self.scaling,
            "worker": {"concurrency": 1, "envFrom": [{"secretRef": {"name": self.name}}]},
        }

    @property
    def keys(self) -> Keys:
        return Keys(prefix=self.name, worker=f"{NAMESPACE}/{self.name}")

    # One task from zero.

    def start(self) -> float:
        """Seconds until a task runs for which the operator has to start a worker."""
        began = time.time()
        self._enqueue(self._order("work", "seconds=0"))
        seconds = self._first_start(self.announcements, began)
        self.until_at_rest()
        return seconds

    def start_bare(self) -> float:
        """Seconds until a task runs for which we create a pod, of the same template."""
        keys = Keys(prefix=f"{self.name}-bare", worker=f"{NAMESPACE}/bare")
        announcements = Announcements.of(self.redis, keys)
        Producer(self.redis, keys.prefix).enqueue([self._order("work", "seconds=0")])
        began = asyncio.run(self._create_bare(keys))
        seconds = self._first_start(announcements, began)
        self.stage.provider.client.run(
            *("delete", "pod", "bare", "-n", NAMESPACE, "--wait=true"), timeout=PATIENCE_SECONDS
        )
        return seconds

    async def _create_bare(self, keys: Keys) -> float:
        """Returns when the request to create the pod was sent."""
        kube = Kube(timeout=PATIENCE_SECONDS, on_response=lambda _method, _status: None)
        try:
            # Which also logs in.
            body = await kube.get(DEPLOYMENTS, namespace=NAMESPACE, name=self._deployment())
            pod = bare_pod(body["spec"]["template"], keys)
            began = time.time()
            await kube.create(PODS, pod)
            return began
        finally:
            await kube.close()

    def _deployment(self) -> str:
        (found,) = self._items("deployments")
        return str(found["metadata"]["name"])

    def _first_start(self, announcements: Announcements, began: float) -> float:
        announcements.first_start = None
        self._until(
            lambda: announcements.first_start is not None,
            what="the task to start",
            announcements=announcements,
        )
        first: datetime | None = announcements.first_start
        if first is None:
            raise BenchmarkError("the task did not start")
        return first.timestamp() - began

    # From many workers to half of them.

    def scale_in(self, number: int) -> ScaleIn:
        """All workers hold a task; then half of them have got nothing, the others a long one each."""
        gate = f"{NAMESPACE}-{number}"
        ids = self._occupy(gate)
        long = self._enqueue(
            *(self._order("work", f"seconds={LONG_SECONDS:g}") for _ in range(STAYING))
        )
        ended = time.monotonic()
        self.stage.backing.open_gate(gate)
        self._until(lambda: set(self._holders()) == set(long), what="the long tasks to begin")
        busy = set(self._holders().values())
        self._until(lambda: self._replicas() <= STAYING, what="fewer replicas")
        lowered = time.monotonic() - ended
        self._until(lambda: len(self._pods()) <= STAYING, what="fewer pods")
        gone, staying = time.monotonic() - ended, self._pods()
        self._until(
            lambda: take_stock(self.redis, self.keys, [*ids, *long]).finished,
            what="all tasks to come to an end",
        )
        return self._verdict(
            [*ids, *long],
            lowered_seconds=lowered,
            gone_seconds=gone,
            removed=WORKERS - len(staying),
            busy_removed=len(busy - staying),
        )

    def _occupy(self, gate: str) -> list[str]:
        """A task for each worker that ends when the gate is opened; returns when all are at work."""
        ids = list[str]()
        # A few at a time: twenty processes that start at once keep two cores busy for longer than a
        # startup probe waits.
        while len(ids) < WORKERS:
            ids += self._enqueue(*(self._order("hold", f"gate={gate}") for _ in range(_TOGETHER)))
            self._until_busy(len(ids))
        return ids

    def _until_busy(self, workers: int) -> None:
        self._until(lambda: len(self._holders()) == workers, what=f"{workers} workers to be busy")
        say(f"{workers} workers are busy")

    def _verdict(self, tasks: list[str], **seen: Any) -> ScaleIn:
        """What became of the tasks, by the orchestrator's records and the service they called."""
        self.announcements.read()
        tally = take_stock(self.redis, self.keys, tasks)
        abandoned = Counter(
            entry.get("task")
            for entry in self.stage.backing.journal()
            if entry["what"] == "abandoned"
        )
        records = [
            json.loads(self.redis.hget(self.keys.record(one), "data") or "") for one in tasks
        ]
        return ScaleIn(
            workers=WORKERS,
            long_seconds=LONG_SECONDS,
            tasks=len(tasks),
            lost=len(tally.lost),
            failed=len(tally.failed),
            interrupted=sum(
                self.announcements.started[one] > 1 or abandoned[one] > 0 for one in tasks
            ),
            attempts_burnt=sum(record["retry_count"] for record in records),
            **seen,
        )

    def _holders(self) -> Mapping[str, str]:
        """The pod that holds each running task."""
        claims: Mapping[Any, Any] = self.redis.hgetall(self.keys.own("claims"))
        return {str(task): str(claim).partition("\n")[0] for task, claim in claims.items()}

    def _replicas(self) -> int:
        return sum(found["spec"]["replicas"] for found in self._items("deployments"))

    def _pods(self) -> set[str]:
        """Those that are not on their way out."""
        return {
            str(pod["metadata"]["name"])
            for pod in self._items("pods")
            if "deletionTimestamp" not in pod["metadata"]
        }

    # What both need.

    def until_at_rest(self) -> None:
        """Promoted, at zero, and no pod left."""

        def resting() -> bool:
            (found,) = (
                one
                for one in self._items("opsagentworkers")
                if one["metadata"]["name"] == self.name
            )
            conditions = {
                one["type"]: one["reason"] for one in found.get("status", {}).get("conditions", ())
            }
            return conditions.get("Ready") == "Idle" and not self._items("pods")

        self._until(resting, what=f"{self.name} to come to rest")

    def _order(self, verb: str, query: str) -> Order:
        order = Order(type="monitor", payload={})
        url = f"{self.stage.backing.sandbox_url}/{verb}?task={order.task_id}&{query}"
        return Order(type="monitor", payload={"url": url, "timeout": "1m"}, task_id=order.task_id)

    def _enqueue(self, *orders: Order) -> list[str]:
        return Producer(self.redis, self.keys.prefix).enqueue(orders)

    def _items(self, kind: str) -> list[dict[str, Any]]:
        selector = [] if kind == "opsagentworkers" else ["-l", f"{OWNER_LABEL}={self.name}"]
        found: list[dict[str, Any]] = self.stage.provider.client.read(
            "get", kind, "-n", NAMESPACE, *selector
        )["items"]
        return found

    def _until(
        self, holds: Callable[[], bool], *, what: str, announcements: Announcements | None = None
    ) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            (announcements or self.announcements).read()
            if holds():
                return
            if time.monotonic() > deadline:
                told = self.stage.provider.client.run(
                    "describe", "opsagentworkers", self.name, "-n", NAMESPACE
                )
                raise BenchmarkError(f"waited in vain for {what}\n{told}")
            time.sleep(_LOOK_SECONDS)


def bare_pod(template: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """A pod of this template that belongs to nobody, and takes its tasks from the queue `keys`."""
    spec = json.loads(json.dumps(template["spec"]))
    named = {"OPSAGENT_WORKER": keys.worker, "OPSAGENT_QUEUE_PREFIX": keys.prefix}
    for container in spec["containers"]:
        for variable in container["env"]:
            if variable["name"] in named:
                variable["value"] = named[variable["name"]]
    return {
        "apiVersion": PODS.api_version,
        "kind": PODS.kind,
        "metadata": {"name": "bare", "namespace": NAMESPACE},
        "spec": {**spec, "restartPolicy": "Never"},
    }
