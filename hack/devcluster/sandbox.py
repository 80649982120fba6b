"""The node's own process, mount and network namespaces, held open by one process.

That process is the first of the process namespace: when it dies the kernel kills every other
process in it, whatever it is called and whoever started it, and drops every mount they made.
So nothing of a node can be left behind, not even when all that is known of it is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from devcluster import netns
from devcluster.components import Component
from devcluster.instance import Instance
from devcluster.processes import children
from devcluster.roster import Roster

START_TIMEOUT = 20.0

# Folders that kubelet, containerd and CNI plugins insist on, whatever they are told: here they
# lie in the state folder or in memory, and vanish with the namespace.
_SETUP = """
set -e
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t tmpfs tmpfs /var/log
for folder in /var/lib/kubelet /var/lib/cni; do
    mkdir -p "$folder" "$1$folder"
    mount --bind "$1$folder" "$folder"
done
echo 1 > /proc/sys/net/ipv4/ip_forward
echo ready > "$1/sandbox.ready"
exec "$2"
"""


@dataclass(frozen=True, kw_only=True)
class Sandbox(Component):
    """The command that makes the namespaces and stays in them."""

    name: ClassVar[str] = "sandbox"
    instance: Instance
    pause: Path

    @property
    def command(self) -> list[str]:
        return [
            "nsenter",
            f"--net={netns.path(self.instance)}",
            "unshare",
            "--mount",
            "--propagation=slave",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            _SETUP,
            "sandbox",
            str(self.instance.state),
            str(self.pause),
        ]


def create(instance: Instance, *, pause: Path, environment: Mapping[str, str]) -> Roster:
    """Make the namespaces (the network's is there already); returns what starts programs in them.

    Args:
        instance: whose.
        pause: the program that stays in them.
        environment: for the programs that will be started.
    """
    outside = Roster(state=instance.state)
    outside.start(Sandbox(instance=instance, pause=pause))
    outside.wait(
        Sandbox.name,
        (instance.state / "sandbox.ready").exists,
        what="the node's namespaces",
        seconds=START_TIMEOUT,
    )
    (first,) = children(outside.processes()[Sandbox.name])
    return Roster(
        state=instance.state,
        enter=("nsenter", f"--target={first.pid}", "--mount", "--pid", "--net"),
        environment=environment,
    )
