"""Clusters of test runs: each run has its own, and clears away what killed runs left."""

import re

from devcluster.cluster import Cluster, Mode
from devcluster.instance import Instance, checkout_id, state_root
from devcluster.processes import Process

_NAME = re.compile(rf"{checkout_id()}-t(?P<pid>\d+)x(?P<started>\d+)-(?P<mode>\w+)")


def of_this_run(mode: Mode) -> Cluster:
    """The cluster of this process: its name holds the process's identity."""
    me = Process.this()
    return Cluster(Instance.of_checkout(mode, purpose=f"t{me.pid}x{me.started}"), mode)


def clear_abandoned() -> None:
    """Take down the clusters of this clone's test runs that no longer exist."""
    if not state_root().exists():
        return
    for folder in state_root().iterdir():
        if name := _NAME.fullmatch(folder.name):
            owner = Process(pid=int(name["pid"]), started=int(name["started"]))
            if not owner.alive():
                Cluster(Instance(folder.name), Mode(name["mode"])).down()
