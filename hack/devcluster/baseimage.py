"""The images that ours are built from, where no image registry can be reached: a small Debian.

One tree is unpacked from Debian's packages; the runtime's image is the builder's without what
installs things.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster import debian
from devcluster.cache import cache_root, obtain
from devcluster.failure import ClusterError
from devcluster.progress import say

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
REPORT_EVERY = 20.0
"""Seconds between two lines about what goes on."""

# Not needed by any program in a container, or written anew by the container runtime.
_LEFT_OUT = (
    "./dev/*",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./usr/lib/*/gconv",
    "./usr/share/doc",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/man",
    "./usr/share/zoneinfo/right",
    "./var/cache/apt",
    "./var/lib/apt/lists",
    "./var/log/*",
)
_INSTALLERS = (
    "./usr/bin/apt*",
    "./usr/lib/*/libapt*",
    "./usr/lib/apt",
    "./usr/lib/python3*/ensurepip",
    "./usr/share/python-wheels",
    "./var/lib/apt",
)


@dataclass(frozen=True)
class BaseImages:
    """Two root file systems, as tar files, and what tells them from earlier ones."""

    folder: Path

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def builder(self) -> Path:
        """Python with `venv` and `pip`."""
        return self.folder / "builder.tar"

    @property
    def runtime(self) -> Path:
        """Python and certificates of authorities."""
        return self.folder / "runtime.tar"


def obtain_base_images() -> BaseImages:
    """Return the base images from the cache, made in a minute or two if they are missing."""
    recipe = json.dumps([SUITE, PACKAGES, _LEFT_OUT, _INSTALLERS]).encode()
    key = f"{SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    return BaseImages(obtain(cache_root() / "base-image" / key, _make))


def _make(folder: Path) -> None:
    tools = debian.ensure(["debootstrap"])
    say(f"making the base image from Debian {SUITE}, about 2 min the first time")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch) / "root"
        _debootstrap(tools["debootstrap"], root)
        images = BaseImages(folder)
        _pack(root, images.builder, without=_LEFT_OUT)
        _pack(root, images.runtime, without=(*_LEFT_OUT, *_INSTALLERS))
        shutil.rmtree(root)


def _debootstrap(program: Path, root: Path) -> None:
    command = [
        str(program),
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(root),
    ]
    began = reported = time.monotonic()
    line = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            if time.monotonic() - reported >= REPORT_EVERY:
                reported = time.monotonic()
                say(f"  base image: {reported - began:.0f} s, now {line.strip()}")
    if process.returncode:
        raise ClusterError(f"debootstrap of Debian {SUITE} failed: {line.strip()}")


def _pack(root: Path, tar: Path, *, without: Iterable[str]) -> None:
    excluded = [f"--exclude={pattern}" for pattern in without]
    command = ["tar", "--numeric-owner", *excluded, "-C", str(root), "-cf", str(tar), "."]
    subprocess.run(command, check=True)
