"""Builds Kubernetes and its neighbours from their Go modules.

Each folder of `hack/` with a `go.mod` pins one of them, with the checksums of all it is made of.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devcluster.cache import cache_root, obtain
from devcluster.failure import ClusterError
from devcluster.progress import say

HACK = Path(__file__).resolve().parent.parent
REPORT_EVERY = 20.0
"""Seconds between two lines about a build that goes on."""


@dataclass(frozen=True, kw_only=True)
class ToolModule:
    """A Go module whose programs are built: `hack/<folder>/go.mod` pins its version.

    `module` is None where the source lies in that folder itself.
    """

    folder: str
    module: str | None
    tags: str = ""
    version_variables: tuple[str, ...] = ()
    """Linker variables that are set to version, major and minor, in this order."""

    @property
    def path(self) -> Path:
        return HACK / self.folder

    def version(self) -> str:
        if self.module is None:
            return "local"
        pinned = re.search(
            rf"^\s*(?:require\s+)?{re.escape(self.module)} (v\S+)",
            (self.path / "go.mod").read_text(),
            re.MULTILINE,
        )
        if pinned is None:
            raise ClusterError(f"{self.path / 'go.mod'} requires no {self.module}.")
        return pinned[1]

    def build_flags(self) -> list[str]:
        stamps = list[str]()
        if self.version_variables:
            version = self.version()
            values = (version, *version.removeprefix("v").split(".")[:2])
            pairs = zip(self.version_variables, values, strict=True)
            stamps = [f"-X {name}={value}" for name, value in pairs]
        flags = ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s -w", *stamps])]
        return [*flags, "-tags", self.tags] if self.tags else flags

    def entry(self, program: str) -> Path:
        """Where `program` lies in the cache: a changed pin, checksum or flag is a new place."""
        digest = hashlib.sha256()
        for file in sorted(self.path.iterdir()):
            if file.suffix in {".mod", ".sum", ".go"}:
                digest.update(file.read_bytes())
        digest.update(repr(self.build_flags()).encode())
        folder = f"{self.version()}-{digest.hexdigest()[:12]}"
        return cache_root() / self.folder / folder / program


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program of a tool module; `seconds` is how long its first build takes on two cores."""

    name: str
    package: str
    module: ToolModule
    seconds: int


_K8S = ToolModule(
    folder="kubernetes",
    module="k8s.io/kubernetes",
    version_variables=tuple(
        f"k8s.io/component-base/version.git{part}" for part in ("Version", "Major", "Minor")
    ),
)
# Without the snapshotters that need cgo or a file system of their own.
_CONTAINERD = ToolModule(
    folder="containerd",
    module="github.com/containerd/containerd/v2",
    tags="no_btrfs no_zfs no_devmapper",
)


def _of(module: ToolModule, package: str, seconds: int) -> Program:
    name = package.rsplit("/", 1)[-1]
    return Program(name=name, package=package, module=module, seconds=seconds)


# Debian's etcd 3.4 serves Kubernetes only just: without progress notifications on watches, clients
# that ask for a streamed list fail and back off for half a minute.
ETCD = Program(
    name="etcd",
    package="go.etcd.io/etcd/server/v3",
    module=ToolModule(folder="etcd", module="go.etcd.io/etcd/server/v3"),
    seconds=60,
)
KUBE_APISERVER = _of(_K8S, "k8s.io/kubernetes/cmd/kube-apiserver", 285)
KUBE_CONTROLLER_MANAGER = _of(_K8S, "k8s.io/kubernetes/cmd/kube-controller-manager", 90)
KUBE_SCHEDULER = _of(_K8S, "k8s.io/kubernetes/cmd/kube-scheduler", 10)
KUBECTL = _of(_K8S, "k8s.io/kubernetes/cmd/kubectl", 25)
KUBELET = _of(_K8S, "k8s.io/kubernetes/cmd/kubelet", 20)
KUBE_PROXY = _of(_K8S, "k8s.io/kubernetes/cmd/kube-proxy", 10)
CONTAINERD = _of(_CONTAINERD, "github.com/containerd/containerd/v2/cmd/containerd", 60)
CONTAINERD_SHIM = _of(
    _CONTAINERD, "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", 5
)
CTR = _of(_CONTAINERD, "github.com/containerd/containerd/v2/cmd/ctr", 5)
KWOK = _of(ToolModule(folder="kwok", module="sigs.k8s.io/kwok"), "sigs.k8s.io/kwok/cmd/kwok", 90)
COREDNS = _of(
    ToolModule(folder="coredns", module="github.com/coredns/coredns"),
    "github.com/coredns/coredns",
    120,
)
HELM = _of(ToolModule(folder="helm", module="helm.sh/helm/v4"), "helm.sh/helm/v4/cmd/helm", 60)
PAUSE = Program(
    name="pause", package=".", module=ToolModule(folder="pause", module=None), seconds=2
)
KIND = _of(ToolModule(folder="kind", module="sigs.k8s.io/kind"), "sigs.k8s.io/kind", 15)

LIGHT = (ETCD, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER, KUBECTL, KWOK)
NODE = (
    ETCD,
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    KUBE_SCHEDULER,
    KUBECTL,
    KUBELET,
    KUBE_PROXY,
    CONTAINERD,
    CONTAINERD_SHIM,
    CTR,
    COREDNS,
    PAUSE,
    HELM,
)

OF_MODE: Mapping[str, tuple[Program, ...]] = {"light": LIGHT, "node": NODE}


def build(programs: Iterable[Program]) -> Mapping[str, Path]:
    """Return where each program lies, by its name; those that are missing are built first."""
    wanted = tuple(programs)
    missing = [program for program in wanted if not program.module.entry(program.name).exists()]
    for number, program in enumerate(missing, start=1):
        say(
            f"building {program.name} {program.module.version()} ({number}/{len(missing)}), "
            f"about {_roughly(program.seconds)} the first time"
        )
        obtain(program.module.entry(program.name), partial(_compile, program))
    return {program.name: program.module.entry(program.name) for program in wanted}


def _roughly(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{round(seconds / 60)} min"  # noqa: PLR2004 - a minute


def go_command() -> str:
    """Raises ClusterError with the way out when there is no Go."""
    for candidate in ("go", "/usr/local/go/bin/go"):
        if found := shutil.which(candidate):
            return found
    raise ClusterError(
        "The local cluster is built from Go modules and `go` is not installed: "
        "install Go 1.21 or newer from https://go.dev/dl, or start Docker and use PROVIDER=kind."
    )


def _compile(program: Program, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-v", "-mod=readonly", *program.module.build_flags()]
    began = reported = time.monotonic()
    compiled, last = 0, deque[str](maxlen=15)
    with subprocess.Popen(
        [go_command(), "build", *flags, "-o", output, program.package],
        cwd=program.module.path,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        stderr=subprocess.PIPE,
        text=True,
    ) as go:
        for line in go.stderr or ():
            last.append(line.rstrip())
            compiled += not line.startswith("go: ")
            if time.monotonic() - reported >= REPORT_EVERY:
                reported = time.monotonic()
                say(
                    f"  {program.name}: {compiled} packages compiled "
                    f"in {reported - began:.0f} s, now {last[-1]}"
                )
    if go.returncode:
        tail = "\n".join(f"  {line}" for line in last)
        raise ClusterError(f"`go build` of {program.package} failed:\n{tail}")
