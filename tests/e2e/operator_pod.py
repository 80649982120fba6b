"""The operator's pod, for tests that take it away."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from demo.chart import NAMESPACE, RELEASE
from devcluster.kubectl import Kubectl
from devcluster.provider import ClusterProvider
from e2e.crash import kill_container

DEADLINE = 90.0
SELECTOR = f"app.kubernetes.io/instance={RELEASE}"


@dataclass(frozen=True)
class OperatorPod:
    provider: ClusterProvider

    @property
    def kubectl(self) -> Kubectl:
        return self.provider.client

    def kill(self) -> None:
        """SIGKILL the operator's process; the kubelet will start it again."""
        (pod,) = self._pods()
        kill_container(self.provider, namespace=NAMESPACE, pod=pod["metadata"]["name"])

    def until_restarted(self) -> None:
        self._until(
            lambda: any(_restarts(pod) > 0 and _ready(pod) for pod in self._pods()),
            "the operator to be back",
        )

    def renew(self) -> None:
        """Replace a pod that crashed, so that its next crash is its first one again."""
        if all(_restarts(pod) == 0 for pod in self._pods()):
            return
        self.kubectl.run("delete", "pod", "-l", SELECTOR, "-n", NAMESPACE)
        self._rolled_out()

    @contextmanager
    def away(self) -> Iterator[None]:
        """No operator at all, as after `helm uninstall`."""
        scale = ("scale", f"deployment/{RELEASE}", "-n", NAMESPACE)
        self.kubectl.run(*scale, "--replicas=0")
        try:
            self._until(lambda: not self._pods(), "the operator to be gone")
            yield
        finally:
            self.kubectl.run(*scale, "--replicas=1")
            self._rolled_out()

    def _pods(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = self.kubectl.read(
            "get", "pods", "-l", SELECTOR, "-n", NAMESPACE
        )["items"]
        return found

    def _rolled_out(self) -> None:
        wait = ("rollout", "status", f"deployment/{RELEASE}", f"--timeout={DEADLINE:.0f}s")
        self.kubectl.run(*wait, "-n", NAMESPACE, timeout=DEADLINE + 5)

    @staticmethod
    def _until(holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"Waited {DEADLINE:.0f} s for {what}.")
            time.sleep(0.25)


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = pod["status"].get("containerStatuses", [])
    return found


def _restarts(pod: Mapping[str, Any]) -> int:
    return sum(status["restartCount"] for status in _statuses(pod))


def _ready(pod: Mapping[str, Any]) -> bool:
    return bool(_statuses(pod)) and all(status["ready"] for status in _statuses(pod))
