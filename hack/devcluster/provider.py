"""Where a cluster comes from: this machine, kind, or somebody else. One interface for them all.

It is pytest-kubernetes' `AClusterManager`, so that neither tests nor the demo know which they use.
"""

import os
import shutil
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_kubernetes.providers.base import (  # type: ignore[import-untyped] # ships no types
    AClusterManager,
)

from devcluster import gobuild, node
from devcluster.cluster import Cluster, Mode
from devcluster.failure import ClusterError
from devcluster.images import Buildah, Docker, ImageBuilder, docker_answers, image_builder
from devcluster.instance import DEVELOPMENT, Instance
from devcluster.kubectl import Kubectl, forwarded


class ClusterProvider(AClusterManager):  # type: ignore[misc] # ships no types
    """What all have in common; replaces pytest-kubernetes' ways that lead through a shell."""

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

    @property
    @abstractmethod
    def images(self) -> ImageBuilder:
        """Builds the images that `publish` takes."""

    @abstractmethod
    def publish(self, image: str, *, name: str, tag: str) -> str:
        """Make an image of `images` available to pods; returns the reference that they name it by.

        The same `name` with several tags is one repository: all that is before the last colon.
        """

    @cached_property
    def client(self) -> Kubectl:
        """Speaks to this cluster."""
        return Kubectl(self._kubectl_program(), self.kubeconfig)

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
        """Return with the cluster ready for use, whether it was there or not."""
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

    def _kubectl_program(self) -> Path:
        """The one on the PATH, which will know the cluster it is used with; else ours."""
        found = shutil.which("kubectl")
        return Path(found) if found else gobuild.build([gobuild.KUBECTL])["kubectl"]


class LocalProvider(ClusterProvider):
    """A cluster made of processes of this machine."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.instance.label, cluster.instance.kubeconfig)
        self.cluster = cluster

    @property
    def audit_log(self) -> Path:
        """One JSON object (audit.k8s.io/v1 Event) per line for each write but leases."""
        return self.cluster.instance.state / "audit.log"

    @cached_property
    def images(self) -> Buildah:
        return Buildah()

    @property
    def registry(self) -> str:
        """Host and port of the node's registry, for this machine and for pods alike."""
        registry = self.cluster.status().registry
        if registry is None:
            raise ClusterError(f"{self.cluster_name} has no registry: it has no node, or is down.")
        return registry

    def publish(self, image: str, *, name: str, tag: str) -> str:
        reference = f"{self.registry}/{name}:{tag}"
        self.images.push(image, reference)
        return reference

    def load_image(self, image: str) -> None:
        """Make an image available to pods under its own name."""
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            self.images.save(image, archive)
            node.import_image(self.cluster.instance, archive)

    def _kubectl_program(self) -> Path:
        """Ours: of the cluster's very version."""
        return gobuild.build([gobuild.KUBECTL])["kubectl"]

    def _on_create(self) -> None:
        self.cluster.up()

    def _on_delete(self) -> None:
        self.cluster.down()


class KindProvider(ClusterProvider):
    """A cluster in Docker containers, by kind."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance.label, instance.kubeconfig)
        self._state = instance.state

    @cached_property
    def images(self) -> Docker:
        return Docker()

    def publish(self, image: str, *, name: str, tag: str) -> str:
        reference = f"localhost/{name}:{tag}"
        self.images.tag(image, reference)
        self.load_image(reference)
        return reference

    def load_image(self, image: str) -> None:
        """Make an image of Docker available to pods under its own name."""
        self._kind("load", "docker-image", image, f"--name={self.cluster_name}")

    def _on_create(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        about = (f"--name={self.cluster_name}", f"--kubeconfig={self.kubeconfig}")
        if self.cluster_name in self._kind("get", "clusters").split():
            self._kind("export", "kubeconfig", *about)
        else:
            self._kind("create", "cluster", "--wait=3m", *about)

    def _on_delete(self) -> None:
        about = (f"--name={self.cluster_name}", f"--kubeconfig={self.kubeconfig}")
        self._kind("delete", "cluster", *about)
        if self._state.exists():
            shutil.rmtree(self._state)

    def _kind(self, *arguments: str) -> str:
        found = shutil.which("kind")
        program = Path(found) if found else gobuild.build([gobuild.KIND])["kind"]
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"`kind {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


class ExternalProvider(ClusterProvider):
    """A cluster that is there already and stays: the one of `kubeconfig`."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__("external", kubeconfig)

    @cached_property
    def images(self) -> ImageBuilder:
        return image_builder()

    def publish(self, image: str, *, name: str, tag: str) -> str:
        registry = os.environ.get("OPSAGENT_REGISTRY")
        if not registry:
            raise ClusterError(
                "A cluster that is not ours pulls from a registry: set OPSAGENT_REGISTRY to one "
                "that you may push to, for example ghcr.io/you."
            )
        reference = f"{registry}/{name}:{tag}"
        self.images.push(image, reference)
        return reference

    def load_image(self, image: str) -> None:
        raise ClusterError(f"Nobody can load {image} into a cluster that is not ours: publish it.")

    def _on_create(self) -> None:
        if not self.ready():
            raise ClusterError(f"The cluster of KUBECONFIG={self.kubeconfig} does not answer.")

    def _on_delete(self) -> None:
        """Not ours to delete."""


def chosen(*, purpose: str = DEVELOPMENT) -> ClusterProvider:
    """The cluster with real pods that $PROVIDER asks for: local, kind or external.

    Unset, it is kind where a Docker engine answers and kind can be had, else this machine's own.
    """
    match os.environ.get("PROVIDER", ""):
        case "local":
            return _local(purpose)
        case "kind":
            if not docker_answers():
                raise ClusterError(
                    "PROVIDER=kind needs a Docker engine and none answers: start Docker, "
                    "or use PROVIDER=local (root and Go)."
                )
            return _kind(purpose)
        case "external":
            if not (kubeconfig := os.environ.get("KUBECONFIG")):
                raise ClusterError("PROVIDER=external needs KUBECONFIG to name your cluster's.")
            return ExternalProvider(Path(kubeconfig))
        case "":
            kind_can_be_had = shutil.which("kind") or shutil.which("go")
            return _kind(purpose) if kind_can_be_had and docker_answers() else _local(purpose)
        case other:
            raise ClusterError(f"PROVIDER={other} is none of local, kind and external.")


def _local(purpose: str) -> LocalProvider:
    return LocalProvider(Cluster(Instance.of_checkout(Mode.NODE, purpose=purpose), Mode.NODE))


def _kind(purpose: str) -> KindProvider:
    return KindProvider(Instance.of_checkout("kind", purpose=purpose))
