"""The operator as a process, the cluster and the queue around it, and what users do to them."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families

from devcluster.kubectl import Kubectl
from fixtures import audit
from opsagent_operator.kube.login import USER_AGENT
from opsagent_queue import Task, TaskQueue, connect

PROGRAM = Path(sys.executable).with_name("opsagent-operator")
START_SECONDS = 120.0
"""Many times what a start takes where nothing else runs: a hundred modules are imported."""
SECRET = "redis"
WORKER = "ops-agent"

T = TypeVar("T")


def eventually(look: Callable[[], T | None], *, seconds: float = 30.0) -> T:
    """What `look` returns once that is true; fails with its last result or assertion after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = look()
        except (AssertionError, httpx.TransportError) as error:
            last: object = error
        else:
            if result:
                return result
            last = result
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {last}"
        time.sleep(0.1)


class OperatorProcess:
    """`opsagent-operator`, started with settings of its own; its log is in `log`."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._environment = {"OPSAGENT_HTTP_HOST": "127.0.0.1", "OPSAGENT_HTTP_PORT": "0"}
        self._environment |= environment
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    def configure(self, **environment: str) -> None:
        """Settings from the next start on."""
        self._environment |= environment

    def start(self) -> None:
        """Start it; returns once it answers on its port."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [PROGRAM], env={**os.environ, **self._environment}, stdout=log, stderr=log
            )
        started = eventually(lambda: self._line("operator started", offset), seconds=START_SECONDS)
        self._url = f"http://127.0.0.1:{started['http_port']}"

    def wait_until_ready(self) -> None:
        eventually(lambda: self.get("/readyz").status_code == httpx.codes.OK)

    def kill(self) -> None:
        """End it the hard way."""
        process = self._running()
        process.kill()
        process.wait(timeout=10)
        self._process = None

    def freeze(self) -> None:
        """Stop it from running (SIGSTOP): it sees and does nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        process = self._running()
        process.terminate()
        code = process.wait(timeout=30)
        self._process = None
        return code

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self._url + path, timeout=5)

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of that name that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Its log."""
        for line in self.log.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the operator is not running"
        return self._process

    def _line(self, message: str, offset: int) -> Mapping[str, Any] | None:
        assert self.alive, f"the operator ended:\n{self.log.read_text()[offset:][-2000:]}"
        for line in self.log.read_text()[offset:].splitlines():
            if f'"{message}"' in line:
                found: Mapping[str, Any] = json.loads(line)
                return found
        return None


@dataclass
class World:
    """One namespace with a queue, and an operator that serves just this namespace."""

    kubectl: Kubectl
    namespace: str
    redis_url: str
    audit_log: Path
    operator: OperatorProcess

    # What users do.

    def create(self, name: str = WORKER, **spec: Any) -> None:
        """Create an OpsAgentWorker; `spec` comes on top of the smallest useful one."""
        self.kubectl.apply(self.manifest(name, **spec))

    def manifest(self, name: str = WORKER, **spec: Any) -> dict[str, Any]:
        queue = {"redis": {"urlFrom": {"secretKeyRef": {"name": SECRET, "key": "REDIS_URL"}}}}
        return {
            "apiVersion": "opsagent.dev/v1alpha1",
            "kind": "OpsAgentWorker",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "image": {"repository": "example.com/worker"},
                "version": "v1.0.0",
                "queue": queue,
                "scaling": {
                    "tasksPerReplica": 1,
                    "scaleDown": {"stabilization": "0s", "cooldownToZero": "0s"},
                },
                **spec,
            },
        }

    def patch(self, name: str = WORKER, **spec: Any) -> None:
        self.run("patch", "oaw", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def run(self, *arguments: str) -> str:
        return self.kubectl.run("-n", self.namespace, *arguments)

    def enqueue(self, count: int) -> None:
        """Tasks for us, as the orchestrator adds them."""

        async def add(queue: TaskQueue) -> None:
            for _ in range(count):
                await queue.enqueue(
                    Task.new(type="monitor", payload={"url": "http://x"}, assigned_to="ops")
                )

        self.with_queue(add)

    def clear_queue(self) -> None:
        async def clear(queue: TaskQueue) -> None:
            client = connect(self.redis_url)
            await client.delete(queue.keys.tasks)
            await client.aclose()

        self.with_queue(clear)

    def with_queue(self, use: Callable[[TaskQueue], Any], *, name: str = WORKER) -> Any:
        """The result of `use`, which gets the queue of an object."""

        async def run() -> Any:
            client = connect(self.redis_url)
            try:
                return await use(TaskQueue(client, worker=f"{self.namespace}/{name}"))
            finally:
                await client.aclose()

        return asyncio.run(run())

    # What they see.

    def get(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.kubectl.read(
            "-n", self.namespace, "get", kind, *arguments
        )["items"]
        return items

    def worker(self, name: str = WORKER) -> dict[str, Any]:
        worker: dict[str, Any] = self.kubectl.read("-n", self.namespace, "get", "oaw", name)
        return worker

    def condition(self, kind: str, name: str = WORKER) -> dict[str, Any]:
        conditions = self.worker(name).get("status", {}).get("conditions", [])
        return next((entry for entry in conditions if entry["type"] == kind), {})

    def replicas(self) -> dict[str, int]:
        """Replicas asked for, by version."""
        return {
            deployment["spec"]["template"]["metadata"]["annotations"]["opsagent.dev/version"]: (
                deployment["spec"]["replicas"]
            )
            for deployment in self.get("deploy")
        }

    @contextmanager
    def numbers(self) -> Iterator[list[int]]:
        """Fills, at its end, with what the only Deployment asked for meanwhile, one after the other."""
        found: list[int] = []
        form = "jsonpath={.metadata.resourceVersion} {.spec.replicas}{'\\n'}"
        watch = ("-n", self.namespace, "get", "deploy", "--watch", "-o", form)
        with (
            TemporaryFile("a+") as output,
            subprocess.Popen(self.kubectl.command(*watch), stdout=output) as process,  # noqa: S603 - our own program
        ):

            def seen() -> Mapping[str, str]:
                """Replicas by resource version."""
                output.seek(0)
                return dict(line.split() for line in output.read().splitlines())

            try:
                eventually(seen)
                yield found
                (last,) = self.get("deploy")
                eventually(lambda: last["metadata"]["resourceVersion"] in seen())
            finally:
                process.terminate()
            found += [number for number, _ in itertools.groupby(map(int, seen().values()))]

    def until_replicas(self, expected: Mapping[str, int]) -> None:
        def look() -> bool:
            found = self.replicas()
            assert found == expected
            return True

        eventually(look)

    def until_condition(
        self, kind: str, status: str, reason: str | None = None, *, name: str = WORKER
    ) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self.condition(kind, name)
            assert (found.get("status"), found.get("reason")) == (
                status,
                reason or found.get("reason"),
            ), found
            return found

        return eventually(look)

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of each event about an OpsAgentWorker."""
        return [
            (event["reason"], event["message"])
            for event in self.get("events")
            if event["involvedObject"]["kind"] == "OpsAgentWorker"
        ]

    # What the API server has written down.

    def writes(self, *, agent: str = USER_AGENT) -> AbstractContextManager[list[tuple[str, str]]]:
        """Fills, at its end, with verb and object of each write of `agent` in this namespace."""
        return audit.writes(self.audit_log, namespace=self.namespace, agent=agent)
