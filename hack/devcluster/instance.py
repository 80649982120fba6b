"""Which cluster is meant: names and places that differ between clones and between test runs."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from devcluster.failure import ClusterError
from devcluster.gobuild import HACK

DEVELOPMENT = "dev"
"""The purpose of the cluster that a person works with."""
LONGEST_SOCKET_PATH = 107
"""Bytes a Unix socket's path may have on Linux (sun_path, less its final zero)."""


def state_root() -> Path:
    """$OPSAGENT_STATE, or a folder of the system (root) or of the user (anyone else)."""
    if chosen := os.environ.get("OPSAGENT_STATE"):
        return Path(chosen).resolve()
    if os.geteuid() == 0:
        return Path("/var/lib/opsagent-dev")
    xdg = os.environ.get("XDG_STATE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".local" / "state") / "opsagent-dev"


def checkout_id() -> str:
    """Eight hex digits that tell this clone (and its $OPSAGENT_STATE) from another."""
    clone = f"{HACK.parent.resolve()}{os.environ.get('OPSAGENT_STATE', '')}"
    return hashlib.sha256(clone.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Instance:
    """One cluster on this machine. Everything it owns carries its name or lies in its folder."""

    name: str

    @classmethod
    def of_checkout(cls, mode: str, *, purpose: str = DEVELOPMENT) -> "Instance":
        """The cluster of this clone for `mode` (light, node) and `purpose`."""
        return cls(f"{checkout_id()}-{purpose}-{mode}")

    @property
    def state(self) -> Path:
        folder = state_root() / self.name
        longest = len(os.fsencode(folder / "containerd" / "containerd.sock.ttrpc"))
        if longest > LONGEST_SOCKET_PATH:
            raise ClusterError(
                f"{folder} is too long a path for the sockets in it: "
                f"set OPSAGENT_STATE to a folder whose path is {longest - LONGEST_SOCKET_PATH} "
                f"characters shorter."
            )
        return folder

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def label(self) -> str:
        """Names what the kernel keeps for us: network namespace, control groups, kube context."""
        return f"opsagent-{self.name}"

    @property
    def link(self) -> str:
        """The host's end of the veth pair: Linux allows an interface's name 15 bytes."""
        return f"oa{self._digest().hex()[:12]}"

    @property
    def loopback(self) -> str:
        """An address of 127.0.0.0/8 that is, but for a hash collision, ours alone."""
        first, second, third = self._digest()[:3]
        return f"127.{64 + first % 128}.{second}.{1 + third % 254}"

    @property
    def preferred_subnet(self) -> int:
        """Where the search for a free subnet begins, so that a cluster tends to keep its own."""
        return self._digest()[0]

    def _digest(self) -> bytes:
        """Of the folder, not of the name: two users of one clone have two."""
        return hashlib.sha256(os.fsencode(self.state)).digest()
