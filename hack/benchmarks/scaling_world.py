"""The operator as a process of its own, beside a real API server with fake nodes and a real Redis."""

import asyncio
import http.client
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.failure import BenchmarkError
from benchmarks.launch import Worker as Program
from benchmarks.launch import launched
from benchmarks.server import Server, running
from devcluster import testrun
from devcluster.apiserver import ApiServer
from devcluster.environment import without_proxies
from devcluster.gobuild import HACK
from devcluster.pki import Pki
from devcluster.progress import say
from devcluster.provider import LocalProvider
from opsagent_operator.act.apply import RESOURCES
from opsagent_operator.api.v1alpha1 import GROUP, PLURAL
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.decide.status import COALESCE
from opsagent_operator.kube.client import WORKERS, Kube, Resource
from opsagent_operator.kube.login import USER_AGENT
from opsagent_operator.manifests.revision import new_revision
from opsagent_operator.model.observed import DeploymentState, InvalidSpec, Observed, QueueState
from opsagent_operator.observe import convert

NAMESPACE: Final = "benchmark"
SECRET: Final = "redis"  # noqa: S105 - a name
PROGRAM: Final = Path(sys.executable).with_name("opsagent-operator")
DEFINITION: Final = HACK.parent / "crds" / f"{GROUP}_{PLURAL}.yaml"
PATIENCE_SECONDS: Final = 120.0
REST_SECONDS: Final = COALESCE.total_seconds() + 1
"""Without a write, after which none is to come: the operator puts off what is not urgent for a while."""
_TOGETHER: Final = 16
"""Requests that are under way at the same time while objects are made."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write, as the API server's audit log has it."""

    at: float
    """When it was answered; seconds since the epoch, by the API server's clock, which is this machine's."""
    verb: str
    resource: str
    """With its subresource: `deployments`, `opsagentworkers/status`."""
    name: str
    accepted: bool


class AuditLog:
    """The operator's writes, read from where the API server notes every write."""

    def __init__(self, path: Path) -> None:
        self.noted = 0
        """Writes in the namespace that were read so far, whoever made them."""
        self._path = path
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def read(self) -> list[Write]:
        """What was noted since the last time."""
        found = self._lines()
        if os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino:
            # It was full and the API server has begun a new one.
            found += self._lines()
            self._file.close()
            self._file = self._path.open("rb")
            found += self._lines()
        events = [event for event in map(json.loads, found) if _is_here(event)]
        self.noted += len(events)
        return [_write(event) for event in events if event["userAgent"].startswith(USER_AGENT)]

    def _lines(self) -> list[bytes]:
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        return whole


def _is_here(event: Mapping[str, Any]) -> bool:
    return (event.get("objectRef") or {}).get("namespace") == NAMESPACE


def _write(event: Mapping[str, Any]) -> Write:
    target = event["objectRef"]
    parts = (target["resource"], target.get("subresource"))
    return Write(
        at=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        verb=event["verb"],
        resource="/".join(part for part in parts if part),
        name=target.get("name", ""),
        accepted=event["responseStatus"]["code"] < http.HTTPStatus.BAD_REQUEST,
    )


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of one Deployment."""

    wanted: int
    """`spec.replicas`."""
    pods: int
    ready: int


class Deployments:
    """All Deployments of the namespace, kept up to date by a watch of our own."""

    def __init__(self, api: ApiServer) -> None:
        self._path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
        listed = api.get(self._path)
        self._sizes = {item["metadata"]["name"]: _size(item) for item in listed["items"]}
        self._changed = threading.Condition()
        self._closing = False
        parts = urlsplit(api.url)
        self._connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, context=api.tls
        )
        version = listed["metadata"]["resourceVersion"]
        self._connection.request("GET", f"{self._path}?watch=true&resourceVersion={version}")
        self._answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=PATIENCE_SECONDS)
        self._connection.close()

    def until(
        self, holds: Callable[[Mapping[str, Size]], bool], *, what: str, seconds: float
    ) -> float:
        """Wait; returns when (seconds since the epoch) the change arrived that made `holds` true."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not holds(self._sizes):
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    raise BenchmarkError(f"waited in vain for {what}: {self._sizes}"[:2000])
                self._changed.wait(left)
            return time.time()

    def _read(self) -> None:
        try:
            for line in self._answer:
                event = json.loads(line)
                if event["type"] not in {"ADDED", "MODIFIED", "DELETED"}:
                    return  # the watch has ended; whoever waits is told
                with self._changed:
                    self._sizes[event["object"]["metadata"]["name"]] = _size(event["object"])
                    self._changed.notify_all()
        except (OSError, ValueError, http.client.HTTPException):
            if not self._closing:
                raise


def _size(body: Mapping[str, Any]) -> Size:
    status = body.get("status", {})
    return Size(
        wanted=body["spec"]["replicas"],
        pods=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
    )


@dataclass(frozen=True)
class Operator:
    """`opsagent-operator`, running."""

    program: Program
    port: int

    @property
    def memory_mib(self) -> float:
        """Resident set size."""
        pages = int(Path(f"/proc/{self.program.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def cpu_seconds(self) -> float:
        return self.program.tree.cpu_seconds()

    def ready(self) -> bool:
        try:
            return self._get("/readyz").is_success
        except httpx.TransportError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self._get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)


@dataclass(frozen=True, kw_only=True)
class World:
    """A light cluster with our definition, one namespace and one Redis."""

    provider: LocalProvider
    api: ApiServer
    redis: Server
    audit: AuditLog
    deployments: Deployments = field(repr=False)

    @contextmanager
    def operator(self) -> Iterator[Operator]:
        """The operator, from the start of its process on; ended with the block."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        environment = {
            "KUBECONFIG": str(self.provider.kubeconfig),
            "OPSAGENT_HTTP_HOST": "127.0.0.1",
            "OPSAGENT_HTTP_PORT": str(port),
        }
        with (
            tempfile.TemporaryDirectory(prefix="benchmark-operator-") as folder,
            launched([PROGRAM], environment=environment, folder=Path(folder)) as program,
        ):
            yield Operator(program, port)

    @property
    def operator_connections(self) -> int:
        """Connections that the operator has to Redis."""
        with self.redis.client() as client:
            return sum(one["name"].startswith("opsagent-operator") for one in client.client_list())

    def create(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Make objects as they are after a release that went well and a rest: promoted, at zero.

        What they own is made by the operator's own rules, so that it finds nothing to do.
        """
        os.environ.update({**without_proxies(), "KUBECONFIG": str(self.provider.kubeconfig)})
        asyncio.run(_create(manifests))

    def until_at_rest(self) -> None:
        """Wait until nobody has written anything for so long that nothing is to come."""
        deadline, last, noted = time.monotonic() + PATIENCE_SECONDS, time.monotonic(), -1
        while (now := time.monotonic()) < last + REST_SECONDS:
            if now > deadline:
                raise BenchmarkError("the cluster does not come to rest")
            time.sleep(0.05)
            self.audit.read()
            if self.audit.noted != noted:
                noted, last = self.audit.noted, time.monotonic()


@contextmanager
def world() -> Iterator[World]:
    """A world of its own; nothing of it is left after the block."""
    provider = testrun.light()
    testrun.clear_abandoned()
    try:
        provider.create()
        instance, kubectl = provider.cluster.instance, provider.client
        status = provider.cluster.status()
        api = ApiServer(status.server or "", Pki(instance.state / "pki"))
        kubectl.define(f"{PLURAL}.{GROUP}", DEFINITION)
        kubectl.run("create", "namespace", NAMESPACE)
        with running() as redis:
            kubectl.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": SECRET, "namespace": NAMESPACE},
                    "stringData": {"REDIS_URL": redis.url},
                }
            )
            audit, deployments = AuditLog(provider.audit_log), Deployments(api)
            try:
                yield World(
                    provider=provider, api=api, redis=redis, audit=audit, deployments=deployments
                )
            finally:
                deployments.close()
                audit.close()
    finally:
        provider.delete()


def manifest(
    name: str,
    *,
    max_replicas: int,
    prefix: str = "orchestrator",
    agents: Sequence[str] = ("ops",),
) -> dict[str, Any]:
    """An object as users write them, with one task per worker and without pauses on the way down."""
    return {
        "apiVersion": WORKERS.api_version,
        "kind": WORKERS.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "registry.example.com/ops-agent-worker"},
            "version": "v1.0.0-stable-20251022",
            "queue": {
                "prefix": prefix,
                "agents": list(agents),
                "redis": {"urlFrom": {"secretKeyRef": {"name": SECRET, "key": "REDIS_URL"}}},
            },
            "scaling": {
                "maxReplicas": max_replicas,
                "tasksPerReplica": 1,
                "scaleDown": {
                    "stabilization": "0s",
                    "cooldownToZero": "0s",
                    "maxStep": "100%",
                },
            },
            "worker": {
                "envFrom": [{"secretRef": {"name": "ops-agent"}}],
                "env": [{"name": "VERCEL_TEAM_ID", "value": "team_benchmark"}],
                "resources": {
                    "requests": {"cpu": "50m", "memory": "96Mi"},
                    "limits": {"memory": "256Mi"},
                },
            },
        },
    }


async def _create(manifests: Sequence[Mapping[str, Any]]) -> None:
    kube = Kube(timeout=PATIENCE_SECONDS, on_response=lambda _method, _status: None)
    waiting, done = iter(manifests), 0

    async def work() -> None:
        nonlocal done
        for one in waiting:
            body = await kube.create(WORKERS, one)
            for resource, child in _children(body):
                await kube.apply(resource, child)
            done += 1
            if done % 500 == 0:
                say(f"{done:,} of {len(manifests):,} objects are made")

    try:
        await asyncio.gather(*(work() for _ in range(_TOGETHER)))
    finally:
        await kube.close()


def _children(body: Mapping[str, Any]) -> Iterator[tuple[Resource, Mapping[str, Any]]]:
    """What the operator would have made for an object whose first release is through."""
    worker, now = convert.worker(body), datetime.now(UTC)
    if isinstance(worker.spec, InvalidSpec):
        raise BenchmarkError(f"the benchmark's own object cannot be read: {worker.spec.message}")
    revision = new_revision(
        namespace=worker.namespace,
        name=worker.name,
        spec=worker.spec,
        version=worker.spec.version,
        number=1,
        now=now,
    )
    observed = Observed(
        worker=worker,
        queue=_EMPTY,
        revisions=(replace(revision, promoted_at=now),),
        deployments={revision.name: DeploymentState(replicas=0, ready=0)},
    )
    for manifest in decide(observed, now).apply:
        yield RESOURCES[manifest["kind"]], manifest


_EMPTY: Final = QueueState(
    pending=0, delayed=0, in_flight=0, dead=0, foreign=0, oldest_seconds=None, paused=False
)
