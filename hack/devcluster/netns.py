"""A network namespace with a cable to the host and addresses that are nobody else's.

`ip netns exec` is not used to run anything in it: that remounts /sys and hides the control groups.
"""

import ipaddress
import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster.cache import locked
from devcluster.failure import ClusterError
from devcluster.instance import Instance

_NAMESPACES = Path("/run/netns")
_NARROW = 16
"""Bits of a route's prefix from which on it is somebody's network, not a way to many."""
# One for the whole machine, wherever state and cache are kept: routes are the machine's.
_LOCK = Path("/run/lock/opsagent-devcluster-subnet")


@dataclass(frozen=True)
class Subnets:
    """Three /24 networks that differ in `number` (0..255) between the clusters of a machine."""

    number: int

    @property
    def nodes(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.200.{self.number}.0/24")

    @property
    def pods(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.201.{self.number}.0/24")

    @property
    def services(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(f"10.202.{self.number}.0/24")

    @property
    def host(self) -> str:
        """The host's address on the cable."""
        return str(self.nodes[1])

    @property
    def node(self) -> str:
        """The node's address, where API server, registry and DNS answer."""
        return str(self.nodes[2])

    @property
    def api_service(self) -> str:
        """The first service address: Kubernetes gives it to the API server."""
        return str(self.services[1])

    @property
    def dns_service(self) -> str:
        return str(self.services[10])

    def free(self, routes: Iterable[ipaddress.IPv4Network]) -> bool:
        """Whether none of `routes` leads into one of the three, or to little more than it.

        A route for very much (a VPN's 10.0.0.0/8) does not count: ours go before it.
        """
        ours = (self.nodes, self.pods, self.services)
        narrow = [taken for taken in routes if taken.prefixlen >= _NARROW]
        return not any(mine.overlaps(taken) for mine in ours for taken in narrow)


def create(instance: Instance) -> Subnets:
    """Make the namespace, its cable, and routes from the host to node, pods and services.

    The routes go with the cable, and the cable goes with the namespace.
    """
    with locked(_LOCK, waiting="another cluster is taking a subnet; waiting for it"):
        taken = list(_routes())
        subnets = next(
            (
                subnets
                for step in range(256)
                if (subnets := Subnets((instance.preferred_subnet + step) % 256)).free(taken)
            ),
            None,
        )
        if subnets is None:
            raise ClusterError("Every subnet of 10.200.0.0/16 is in use: `ip route` shows by whom.")
        namespace, link = instance.label, instance.link
        _ip("netns", "add", namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("address", "add", f"{subnets.host}/24", "dev", link)
        _ip("link", "set", link, "up")
        inside = ("-n", namespace)
        _ip(*inside, "address", "add", f"{subnets.node}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "route", "add", "default", "via", subnets.host)
        for network in (subnets.pods, subnets.services):
            _ip("route", "add", str(network), "via", subnets.node)
        return subnets


def path(instance: Instance) -> Path:
    """The file that stands for the namespace, whether it exists or not."""
    return _NAMESPACES / instance.label


def inode(instance: Instance) -> int | None:
    """What tells the namespace from others under /proc; None if there is no namespace."""
    try:
        return path(instance).stat().st_ino
    except FileNotFoundError:
        return None


def delete(instance: Instance) -> None:
    """Remove the cable and the namespace; fine if they are gone.

    The cable first: the kernel would take it away with the namespace, but only some time later.
    """
    cable = Path(f"/sys/class/net/{instance.link}")
    if cable.exists():
        try:
            _ip("link", "delete", instance.link)
        except ClusterError:
            if cable.exists():  # else it went with a namespace that was deleted before
                raise
    if path(instance).exists():
        _ip("netns", "delete", instance.label)


def _routes() -> Iterator[ipaddress.IPv4Network]:
    for route in json.loads(_ip("-json", "-4", "route", "show", "table", "all")):
        if route["dst"] != "default":
            yield ipaddress.IPv4Network(route["dst"], strict=False)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout
