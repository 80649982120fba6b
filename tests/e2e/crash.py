"""Kills what runs in a container the way a crash does: SIGKILL, from outside, without a goodbye.

`kubectl delete --grace-period=0 --force` would not do: it removes the object at once and leaves it to
the kubelet to end the process, which gets a SIGTERM first. And a process that is PID 1 of its
container cannot be killed from inside.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.provider import ClusterProvider, KindProvider, LocalProvider


def kill_container(provider: ClusterProvider, *, namespace: str, pod: str) -> None:
    """SIGKILL every process of the pod's only container."""
    found = provider.client.read("get", "pod", pod, "-n", namespace)
    (status,) = found["status"]["containerStatuses"]
    container = status["containerID"].removeprefix("containerd://")
    match provider:
        case LocalProvider():
            for pid in list(_processes_of(container)):
                os.kill(pid, signal.SIGKILL)
        case KindProvider():
            kill = ("ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
            node = ("docker", "exec", found["spec"]["nodeName"])
            subprocess.run([*node, *kill], check=True)  # noqa: S603 - words of our own
        case _:
            pytest.skip("the processes of this cluster's nodes are out of reach")


def _processes_of(container: str) -> Iterator[int]:
    """Processes of this machine whose control group is the container's."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = (entry / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if container in groups:
            yield int(entry.name)
