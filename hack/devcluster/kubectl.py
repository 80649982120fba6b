"""Runs kubectl: no shell in between, so that every argument arrives as it was written."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.environment import without_proxies
from devcluster.failure import ClusterError


@dataclass(frozen=True)
class Kubectl:
    """kubectl at `program`, speaking to the cluster of `kubeconfig`."""

    program: Path
    kubeconfig: Path

    def command(self, *arguments: str) -> list[str]:
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """What it printed; raises ClusterError with what it complained about."""
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env=without_proxies(),
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"`kubectl {' '.join(arguments)}` did not end within {timeout:.0f} s."
            ) from None
        if done.returncode:
            raise ClusterError(f"`kubectl {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout

    def read(self, *arguments: str, timeout: float = 60) -> Any:
        """What it printed, with `-o json`, as Python values."""
        return json.loads(self.run(*arguments, "-o", "json", timeout=timeout))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply manifests, server-side."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))

    def define(self, name: str, definition: Path) -> None:
        """Apply the CustomResourceDefinition `name`, which is in a file; returns once its objects are served."""
        self.run("apply", "--server-side", "--force-conflicts", "-f", str(definition))
        # Of an object that has no conditions at all yet, `kubectl wait` does not wait for one: it fails.
        accepted = f"jsonpath={{.status.acceptedNames.plural}}={name.partition('.')[0]}"
        for state in (accepted, "condition=Established"):
            self.run("wait", f"--for={state}", f"crd/{name}")


@contextmanager
def forwarded(
    kubectl: Kubectl, target: str, *, port: int, namespace: str, local_port: int = 0
) -> Iterator[int]:
    """Forward a port of the loopback interface to `target`'s `port`; yields its number.

    Args:
        kubectl: for the cluster that is led into.
        target: a pod, `deploy/NAME` or `svc/NAME`.
        port: of the target.
        namespace: of the target.
        local_port: 0 for any that is free.
    """
    arguments = ("port-forward", "-n", namespace, target, f"{local_port}:{port}")
    with subprocess.Popen(
        kubectl.command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=without_proxies(),
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            # It says, for example, Forwarding from 127.0.0.1:40123 -> 8080
            if not line.startswith("Forwarding from "):
                raise ClusterError(f"Port {port} of {target} is not forwarded: {line.strip()}")
            yield int(line.split(" -> ")[0].rpartition(":")[2])
        finally:
            process.kill()
