"""One OpsAgentWorker with a namespace, a queue and tasks of its own, on the shared stage."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from redis import Redis

from demo import manifests
from demo.backing import Backing
from demo.images import VERSION
from demo.ledger import Announcements, Tally, take_stock
from demo.producer import Order, Producer
from demo.stage import Stage
from demo.view import WorkerView, look
from devcluster.failure import ClusterError
from devcluster.kubectl import Kubectl
from opsagent_queue import Keys

T = TypeVar("T")

NAME = "ops-agent"
DEADLINE = 60.0
"""Seconds: many times what any step takes, so that only what never comes runs into it."""
PAUSE = 0.25
"""Seconds between two looks at a condition."""
CONCURRENCY = 2
MAX_REPLICAS = 3

Spec = dict[str, Any]


def worker_spec(image: Mapping[str, str], *, prefix: str, sandbox_url: str) -> Spec:
    """Quick in everything that takes a minute by default."""
    return {
        "version": VERSION,
        "image": dict(image),
        "queue": {
            "prefix": prefix,
            "redis": {"urlFrom": {"secretKeyRef": {"name": NAME, "key": "REDIS_URL"}}},
        },
        "scaling": {
            "maxReplicas": MAX_REPLICAS,
            "scaleDown": {"stabilization": "1s", "cooldownToZero": "1s"},
        },
        "worker": {
            "concurrency": CONCURRENCY,
            "lease": "60s",
            "drainTimeout": "30s",
            "retry": {"backoff": "200ms", "maxBackoff": "1s"},
            "envFrom": [{"secretRef": {"name": NAME}}],
            "env": [
                {"name": "VERCEL_API_URL", "value": sandbox_url},
                {"name": "VERCEL_POLL_INTERVAL", "value": "200ms"},
                {"name": "ORCHESTRATOR_URL", "value": sandbox_url},
            ],
        },
    }


@dataclass
class Arena:
    """Where one test plays."""

    stage: Stage
    redis: "Redis"
    namespace: str
    backing: Backing
    tasks: list[str] = field(default_factory=list)
    """Every task enqueued for this agent."""

    def __post_init__(self) -> None:
        self.announcements = Announcements.of(self.redis, self.keys)

    # The object.

    @property
    def kubectl(self) -> Kubectl:
        return self.stage.provider.client

    @property
    def prefix(self) -> str:
        return self.namespace

    @property
    def keys(self) -> Keys:
        return Keys(prefix=self.prefix, worker=f"{self.namespace}/{NAME}")

    @property
    def spec(self) -> Spec:
        return worker_spec(
            self.stage.images.worker_image, prefix=self.prefix, sandbox_url=self.backing.sandbox_url
        )

    def create_secret(self, *, without: str = "") -> None:
        values = {
            name: value for name, value in self.backing.credentials().items() if name != without
        }
        self.kubectl.apply(manifests.secret(NAME, namespace=self.namespace, values=values))

    def create_worker(self, **spec: Any) -> None:
        self.kubectl.apply(
            {
                "apiVersion": "opsagent.dev/v1alpha1",
                "kind": "OpsAgentWorker",
                "metadata": {"name": NAME, "namespace": self.namespace},
                "spec": {**self.spec, **spec},
            }
        )

    def create_resting_worker(self, **spec: Any) -> None:
        """Create the worker, and wait until it has proved itself and gone to rest."""
        self.create_secret()
        self.create_worker(**spec)
        self.until_at_rest()

    def patch(self, **spec: Any) -> None:
        patch = json.dumps({"spec": spec})
        self.run("patch", "opsagentworker", NAME, "--type=merge", "-p", patch)

    def run(self, *arguments: str) -> str:
        """kubectl, in this namespace."""
        return self.kubectl.run(*arguments, "-n", self.namespace)

    def read(self, *arguments: str) -> Any:
        return self.kubectl.read(*arguments, "-n", self.namespace)

    def items(self, kind: str) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.read("get", kind)["items"]
        return found

    def view(self) -> WorkerView:
        return look(self.kubectl, namespace=self.namespace, name=NAME)

    def condition(self, kind: str) -> Mapping[str, Any]:
        """A condition of the object; an empty mapping before the first visit."""
        status = self.read("get", "opsagentworker", NAME)["status"]
        found: Mapping[str, Any]
        for found in status.get("conditions", []):
            if found["type"] == kind:
                return found
        return {}

    def pods(self) -> Sequence[str]:
        """Worker pods that are not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in self.items("pods")
            if pod["metadata"]["labels"].get("opsagent.dev/worker") == NAME
            and "deletionTimestamp" not in pod["metadata"]
        ]

    # Its tasks.

    def enqueue(self, *orders: Order) -> list[str]:
        ids = Producer(self.redis, self.prefix).enqueue(orders)
        self.tasks += ids
        return ids

    def enqueue_at_once(self, *orders: Order) -> list[str]:
        ids = Producer(self.redis, self.prefix).enqueue_at_once(orders)
        self.tasks += ids
        return ids

    def work(self, *, seconds: float) -> Order:
        """A task that takes some time."""
        return self._watched("work", f"seconds={seconds}")

    def hold(self, gate: str = "open") -> Order:
        """A task that takes until `release` is called, which has to be within a minute."""
        return self._watched("hold", f"gate={self.namespace}-{gate}")

    def release(self, gate: str = "open") -> None:
        self.backing.open_gate(f"{self.namespace}-{gate}")

    def _watched(self, verb: str, query: str) -> Order:
        order = Order(type="monitor", payload={})
        url = f"{self.backing.sandbox_url}/{verb}?task={order.task_id}&{query}"
        payload = {"url": url, "timeout": "1m"}  # the longest there is
        return Order(type="monitor", payload=payload, task_id=order.task_id)

    def tally(self) -> Tally:
        return take_stock(self.redis, self.keys, self.tasks)

    def journal(self, what: str) -> Counter[str]:
        """How often each task `started`, was `answered` or `abandoned`, as the sandbox saw it."""
        ours = set(self.tasks)
        return Counter(
            entry["task"]
            for entry in self.backing.journal()
            if entry["what"] == what and entry.get("task") in ours
        )

    def owners(self) -> Mapping[str, str]:
        """The pod that holds each running task."""
        claims = self.redis.hgetall(self.keys.own("claims"))
        return {str(task_id): str(claim).partition("\n")[0] for task_id, claim in claims.items()}

    def counted(self, name: str) -> int:
        """A counter of this queue (docs/queue.md)."""
        return int(self.redis.hget(self.keys.own("counters"), name) or 0)

    # Waiting.

    def until(self, holds: Callable[[], T | None], what: str, *, seconds: float = DEADLINE) -> T:
        """What `holds` returns once that is true; fails with all there is to know at the deadline."""
        deadline = time.monotonic() + seconds
        while True:
            self.announcements.read()
            if result := holds():
                return result
            if time.monotonic() > deadline:
                pytest.fail(f"Waited {seconds:.0f} s for {what}.\n{self._evidence()}")
            time.sleep(PAUSE)

    def until_at_rest(self) -> None:
        self.until(
            lambda: (view := self.view()).settled and view.reason == "Idle" and view.pods == 0,
            "the worker to be at rest",
        )

    def until_ready(self, workers: int) -> None:
        self.until(
            lambda: (view := self.view()).ready == view.desired == workers,
            f"{workers} workers to be ready",
        )

    def until_condition(self, kind: str, reason: str) -> Mapping[str, Any]:
        return self.until(
            lambda: found if (found := self.condition(kind)).get("reason") == reason else None,
            f"condition {kind} to be {reason}",
        )

    def until_started(self, count: int) -> None:
        self.until(
            lambda: len(self.journal("started")) >= count, f"{count} different tasks to have begun"
        )

    def until_done(self) -> Tally:
        """Wait for the end of all tasks, and prove that each came to one end and one only."""
        tally = self.until(
            lambda: now if (now := self.tally()).finished else None, "all tasks to come to an end"
        )
        assert not tally.lost
        self.announcements.read()
        twice = [task_id for task_id in self.tasks if self.announcements.ended[task_id] > 1]
        assert not twice, "the end of a task was announced more than once"
        return tally

    def _evidence(self) -> str:
        looks = (
            ("describe", "opsagentworker", NAME),
            ("get", "deployments,pods,controllerrevisions", "-o", "wide"),
            ("logs", f"--selector=opsagent.dev/worker={NAME}", "--tail=15", "--prefix"),
        )
        system = ("logs", "deployment/opsagent-operator", "-n", "opsagent-system", "--tail=30")
        texts = [repr(self.tally())]
        for look_at in [*((*words, "-n", self.namespace) for words in looks), system]:
            try:
                texts.append(f"$ kubectl {' '.join(look_at)}\n{self.kubectl.run(*look_at)}")
            except ClusterError as error:
                texts.append(str(error))
        return "\n".join(texts)
