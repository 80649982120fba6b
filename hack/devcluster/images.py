"""Builds the project's images, with Docker where it runs and with buildah where it does not."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from devcluster import debian
from devcluster.baseimage import BaseImages, obtain_base_images
from devcluster.cache import cache_root, locked
from devcluster.environment import without_proxies
from devcluster.failure import ClusterError
from devcluster.gobuild import HACK
from devcluster.progress import say

REPOSITORY = HACK.parent
OPERATOR = REPOSITORY / "Dockerfile.operator"
WORKER = REPOSITORY / "Dockerfile.worker"

# What steps of a build need in order to reach package registries the way this machine does.
_OF_THE_HOST = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))
_TAIL = 20
"""Lines of a failed build that are shown."""


class ImageBuilder(ABC):
    """Builds images into a store of this machine and pushes them from there."""

    def build(self, dockerfile: Path, *, base: str | None = None) -> str:
        """Return the name of the image of `Dockerfile.NAME`, built if its inputs changed.

        A file that is just `Dockerfile` is named after its folder. `base` is the image of this
        builder to build on; without it, what all images are built on. What the Dockerfile copies
        lies beside it. The image's tag is a digest of its inputs: the Dockerfile, what that copies,
        and the base images.
        """
        name = f"opsagent-{dockerfile.suffix.removeprefix('.') or dockerfile.parent.name}"
        image = f"localhost/{name}:{inputs_digest(dockerfile, base or self._bases_key())}"
        lock = cache_root() / "locks" / f"image-{name}"
        with locked(lock, waiting=f"another process is building {name}; waiting for it"):
            if not self._has(image):
                say(f"building the image {name}")
                self._build(dockerfile, image, base)
        return image

    @abstractmethod
    def push(self, image: str, reference: str) -> None:
        """Push `image` of the store to `reference`, which begins with a registry."""

    @abstractmethod
    def _bases_key(self) -> str:
        """Tells base images apart."""

    @abstractmethod
    def _has(self, image: str) -> bool: ...

    @abstractmethod
    def _build(self, dockerfile: Path, image: str, base: str | None) -> None: ...


class Buildah(ImageBuilder):
    """Needs root but no engine. Its images and layers lie in the cache."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise ClusterError(
                "Without Docker, images are built as root: use `sudo -E`, or start Docker."
            )

    def push(self, image: str, reference: str) -> None:
        # As it is: to compress for a registry on the same machine takes longer than to send it.
        how = ("--quiet", "--tls-verify=false", "--disable-compression")
        self._run("push", *how, image, f"docker://{reference}")

    def save(self, image: str, archive: Path) -> None:
        """Write `image` to `archive`, an OCI archive, under its own name."""
        self._run("push", "--quiet", image, f"oci-archive:{archive}:{image}")

    def _bases_key(self) -> str:
        return self._bases.key

    def _has(self, image: str) -> bool:
        return _succeeds([*self._command, "inspect", "--type=image", image])

    def _build(self, dockerfile: Path, image: str, base: str | None) -> None:
        if base is None:
            runtime = self._base_image("runtime", self._bases.runtime)
            builder = self._base_image("builder", self._bases.builder)
            bases = [f"--build-arg=BASE_IMAGE={runtime}", f"--build-arg=BUILDER_IMAGE={builder}"]
        else:
            bases = [f"--build-arg=BASE_IMAGE={base}"]
        self._run(
            *("bud", "--layers", "--isolation=chroot", "--network=host"),
            *(f"--volume={file}:{file}:ro" for file in _OF_THE_HOST if file.exists()),
            *bases,
            *(f"--file={dockerfile}", f"--tag={image}", str(dockerfile.parent)),
        )

    def _base_image(self, name: str, tar: Path) -> str:
        image = f"localhost/opsagent-base-{name}:{self._bases.key}"
        if not self._has(image):
            with tempfile.TemporaryDirectory() as folder:
                dockerfile = Path(folder) / "Dockerfile"
                dockerfile.write_text(f"FROM scratch\nADD {tar.name} /\n")
                self._run("bud", f"--file={dockerfile}", f"--tag={image}", str(tar.parent))
        return image

    def _run(self, *arguments: str) -> None:
        _run([*self._command, *arguments])

    @cached_property
    def _bases(self) -> BaseImages:
        return obtain_base_images()

    @cached_property
    def _command(self) -> list[str]:
        program = debian.ensure(["buildah"])["buildah"]
        store = cache_root() / "images"
        store.mkdir(parents=True, exist_ok=True)
        return [
            str(program),
            f"--root={store / 'root'}",
            f"--runroot={store / 'run'}",
            f"--storage-driver={'overlay' if _overlays(store) else 'vfs'}",
        ]


class Docker(ImageBuilder):
    """Builds from the public base images that the Dockerfiles name."""

    def tag(self, image: str, reference: str) -> None:
        """Give `image` another name."""
        _run(["docker", "tag", image, reference])

    def push(self, image: str, reference: str) -> None:
        self.tag(image, reference)
        _run(["docker", "push", "--quiet", reference])

    def _bases_key(self) -> str:
        return "public"

    def _has(self, image: str) -> bool:
        return _succeeds(["docker", "image", "inspect", image])

    def _build(self, dockerfile: Path, image: str, base: str | None) -> None:
        bases = [] if base is None else [f"--build-arg=BASE_IMAGE={base}"]
        of = [f"--file={dockerfile}", f"--tag={image}", str(dockerfile.parent)]
        _run(["docker", "build", *bases, *of])


def docker_answers() -> bool:
    """Whether there is a Docker engine that this user may use."""
    return shutil.which("docker") is not None and _succeeds(["docker", "info"])


def image_builder() -> ImageBuilder:
    """Docker's if its engine answers, else buildah."""
    return Docker() if docker_answers() else Buildah()


def inputs_digest(dockerfile: Path, bases_key: str) -> str:
    """Sixteen hex digits that change when, and only when, what the image is made of changes."""
    digest = hashlib.sha256(bases_key.encode())
    for file in (dockerfile, *_copied(dockerfile)):
        digest.update(f"\0{file.relative_to(dockerfile.parent)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _copied(dockerfile: Path) -> Iterator[Path]:
    """The files that the Dockerfile copies from the repository, in a fixed order."""
    for line in dockerfile.read_text().splitlines():
        words = line.split()
        if words[:1] != ["COPY"] or words[1].startswith("--from="):
            continue
        for source in words[1:-1]:
            path = dockerfile.parent / source
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and not _ignored(file):
                    yield file


def _ignored(file: Path) -> bool:
    """What .dockerignore keeps out of the folders that are copied."""
    return "__pycache__" in file.parts or any(part.endswith(".egg-info") for part in file.parts)


def _overlays(folder: Path) -> bool:
    """Whether layers can be laid over each other there; they are copied where not.

    The mount is tried in a mount namespace of its own, which takes it away again.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        script = (
            'cd "$1" && mkdir lower upper work merged && mount -t overlay overlay '
            "-o lowerdir=lower,upperdir=upper,workdir=work merged"
        )
        return _succeeds(["unshare", "--mount", "sh", "-c", script, "try", scratch])


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=without_proxies(),
    )
    if done.returncode:
        tail = "\n".join(f"  {line}" for line in done.stdout.splitlines()[-_TAIL:])
        raise ClusterError(f"`{' '.join(command)}` failed:\n{tail}")
