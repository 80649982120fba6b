"""Installs the Debian packages whose programs are missing."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devcluster.failure import ClusterError
from devcluster.progress import say

PACKAGE_OF: Mapping[str, str] = {
    "docker-registry": "docker-registry",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "redis-server": "redis-server",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""The package that holds each program we start."""

NODE = (
    "docker-registry",
    "runc",
    "iptables",
    "ip",
    "nsenter",
    "unshare",
    "mount",
    "/usr/lib/cni/bridge",
)
IMAGES = ("buildah", "debootstrap")

_SEARCH = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
_POLICY = Path("/usr/sbin/policy-rc.d")


def find(program: str) -> str | None:
    """Where `program` is; the administrator's folders count, whoever asks."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), _SEARCH)))


def ensure(programs: Iterable[str]) -> Mapping[str, Path]:
    """Return where each program is, installing the packages of those that are missing.

    Raises ClusterError when a program is missing and this is no Debian, or not root.
    """
    wanted = tuple(programs)
    if missing := sorted({PACKAGE_OF[program] for program in wanted if not find(program)}):
        _install(missing)
    found = {program: find(program) for program in wanted}
    if lost := [program for program, path in found.items() if path is None]:
        raise ClusterError(f"{', '.join(lost)} is missing although its Debian package is there.")
    return {program: Path(path) for program, path in found.items() if path}


def _install(packages: list[str]) -> None:
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise ClusterError(f"Install what Debian calls `{names}`; this machine has no apt-get.")
    if os.geteuid() != 0:
        raise ClusterError(f"Missing programs: run `sudo apt-get install {names}` once.")
    say(f"installing Debian packages: {names}")
    with _no_service_starts():
        if not _apt_get("install", "--no-install-recommends", *packages):
            say("refreshing Debian's package lists")
            _apt_get("update")
            if not _apt_get("install", "--no-install-recommends", *packages, show=True):
                raise ClusterError(f"`apt-get install {names}` failed; its words are above.")


def _apt_get(*arguments: str, show: bool = False) -> bool:
    done = subprocess.run(
        ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=not show,
        check=False,
    )
    return done.returncode == 0


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep the packages from starting services: only their programs are wanted here."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
