"""Clusters of test runs: each run has its own, and clears away what killed runs left."""

import re

from devcluster.cluster import Cluster, Mode
from devcluster.instance import Instance, checkout_id, state_root
from devcluster.processes import Process
from devcluster.provider import ClusterProvider, KindProvider, LocalProvider, chosen

_NAME = re.compile(
    rf"{checkout_id()}-t(?P<pid>\d+)x(?P<started>\d+)(n\d+)?-(?P<mode>light|node|kind)"
)


def purpose(number: int = 0) -> str:
    """What a cluster of this process is for: it holds the process's identity.

    `number` tells further clusters from the one that most tests share.
    """
    me = Process.this()
    return f"t{me.pid}x{me.started}" + (f"n{number}" if number else "")


def light() -> LocalProvider:
    """This run's cluster with fake nodes."""
    return LocalProvider(Cluster(Instance.of_checkout(Mode.LIGHT, purpose=purpose()), Mode.LIGHT))


def node() -> ClusterProvider:
    """This run's cluster with real pods, from wherever $PROVIDER says."""
    return chosen(purpose=purpose())


def clear_abandoned() -> None:
    """Take down the clusters of this clone's test runs that no longer exist."""
    if not state_root().exists():
        return
    for folder in state_root().iterdir():
        name = _NAME.fullmatch(folder.name)
        if not name or Process(pid=int(name["pid"]), started=int(name["started"])).alive():
            continue
        instance = Instance(folder.name)
        if name["mode"] == "kind":
            KindProvider(instance).delete()
        else:
            Cluster(instance, Mode(name["mode"])).down()
