"""Where a cluster comes from: this machine, kind, or somebody else. One interface for them all.

It is pytest-kubernetes' `AClusterManager`, so that neither tests nor the demo know which they use.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_kubernetes.providers.base import (  # type: ignore[import-untyped] # ships no types
    AClusterManager,
)

from devcluster import gobuild
from devcluster.cluster import Cluster
from devcluster.failure import ClusterError
from devcluster.kubectl import Kubectl, forwarded


class ClusterProvider(AClusterManager):  # type: ignore[misc] # ships no types
    """What all have in common; replaces pytest-kubernetes' ways that lead through a shell."""

    _name: str
    _kubeconfig: Path

    def __init__(self, name: str, kubeconfig: Path) -> None:
        """Does not call super(): that looks for an executable and holds options we have not."""
        self._name = name
        self._kubeconfig = kubeconfig

    @classmethod
    def get_binary_name(cls) -> str:
        return "kubectl"

    @property
    def cluster_name(self) -> str:
        return self._name

    @property
    def kubeconfig(self) -> Path:
        return self._kubeconfig

    @cached_property
    def client(self) -> Kubectl:
        """Speaks to this cluster."""
        return Kubectl(self._kubectl_program(), self.kubeconfig)

    def _kubectl_program(self) -> Path:
        """The one on the PATH, which will know the cluster it is used with; else ours."""
        found = shutil.which("kubectl")
        return Path(found) if found else gobuild.build([gobuild.KUBECTL])["kubectl"]

    def kubectl(
        self,
        args: list[str],
        as_dict: bool = True,  # noqa: FBT001, FBT002 - the interface is pytest-kubernetes'
        timeout: int = 60,
    ) -> Any:
        """What kubectl prints for `args`, read as JSON unless `as_dict` is false."""
        run = self.client.read if as_dict else self.client.run
        return run(*args, timeout=timeout)

    def apply(self, manifest: Path | str | Mapping[str, Any]) -> None:
        """Apply a file, a folder or one manifest (server-side apply)."""
        if isinstance(manifest, Mapping):
            self.client.apply(manifest)
        else:
            self.client.run("apply", "--server-side", "--force-conflicts", "-f", str(manifest))

    @contextmanager
    def port_forwarding(
        self, target: str, source_port: int, target_port: int, namespace: str = "default"
    ) -> Iterator[int]:
        """Forward a port of the loopback interface (`source_port` 0: any); yields its number."""
        with forwarded(
            self.client, target, port=target_port, namespace=namespace, local_port=source_port
        ) as port:
            yield port

    def create(self) -> None:
        """Return with the cluster ready for use."""
        self._on_create()

    def delete(self) -> None:
        """Return with the cluster gone."""
        self._on_delete()

    def ready(self, timeout: int = 20) -> bool:
        """Whether the API server says it is ready, within `timeout` seconds."""
        try:
            self.client.run("get", "--raw=/readyz", timeout=timeout)
        except ClusterError:
            return False
        return True


class LocalProvider(ClusterProvider):
    """A cluster made of processes of this machine."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.instance.label, cluster.instance.kubeconfig)
        self.cluster = cluster

    @property
    def audit_log(self) -> Path:
        """One JSON object (audit.k8s.io/v1 Event) per line for each write but leases."""
        return self.cluster.instance.state / "audit.log"

    def _kubectl_program(self) -> Path:
        """Ours: of the cluster's very version."""
        return gobuild.build([gobuild.KUBECTL])["kubectl"]

    def _on_create(self) -> None:
        self.cluster.up()

    def _on_delete(self) -> None:
        self.cluster.down()

    def load_image(self, image: str) -> None:
        raise ClusterError(f"{self.cluster_name} has no node that could run {image}.")


class KindProvider(ClusterProvider):
    """A cluster in Docker containers, by kind."""

    def __init__(self, name: str, kubeconfig: Path) -> None:
        super().__init__(name, kubeconfig)

    def _on_create(self) -> None:
        if self.cluster_name not in self._kind("get", "clusters").split():
            self._kind("create", "cluster", "--wait=3m")
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self._kind("export", "kubeconfig")

    def _on_delete(self) -> None:
        self._kind("delete", "cluster")
        self.kubeconfig.unlink(missing_ok=True)

    def load_image(self, image: str) -> None:
        self._kind("load", "docker-image", image)

    def _kind(self, *arguments: str) -> str:
        found = shutil.which("kind")
        program = Path(found) if found else gobuild.build([gobuild.KIND])["kind"]
        about = [] if arguments[0] == "get" else [f"--name={self.cluster_name}"]
        if arguments[0] in ("create", "export", "delete"):
            about.append(f"--kubeconfig={self.kubeconfig}")
        done = subprocess.run(
            [program, *arguments, *about], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"`kind {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


class ExternalProvider(ClusterProvider):
    """A cluster that is there already and stays: the one of `kubeconfig`."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__("external", kubeconfig)

    def _on_create(self) -> None:
        if not self.ready():
            raise ClusterError(f"The cluster of KUBECONFIG={self.kubeconfig} does not answer.")

    def _on_delete(self) -> None:
        """Not ours to delete."""

    def load_image(self, image: str) -> None:
        """Nothing to do: it pulls from where `image` says."""
