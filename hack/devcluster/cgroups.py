"""A control group of the cluster's own, above those that the kubelet makes for pods.

Works with version 1, version 2 and the mix of both: it is made wherever a hierarchy is mounted.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from devcluster.failure import ClusterError

EMPTY_WITHIN = 10.0
"""Seconds the kernel may take to let go of the last killed process."""
_POLL = 0.02


def create(name: str) -> None:
    """Make the group `name` below the root of every hierarchy."""
    for root in _hierarchies():
        _pass_controllers_on(root)
        (root / name).mkdir(exist_ok=True)


def delete(name: str) -> None:
    """Remove the group and those below it; their processes have been killed."""
    deadline = time.monotonic() + EMPTY_WITHIN
    for root in _hierarchies():
        top = root / name
        if not top.exists():
            continue
        below = [entry for entry in top.rglob("*") if entry.is_dir()]
        for group in (*sorted(below, reverse=True), top):  # the deepest first
            _remove(group, deadline)


def exists(name: str) -> bool:
    """Whether any hierarchy has the group."""
    return any((root / name).exists() for root in _hierarchies())


def members(name: str) -> set[int]:
    """Numbers of the processes in the group and in those below it."""
    found = set[int]()
    for root in _hierarchies():
        for group in (root / name).rglob("cgroup.procs"):
            with suppress(OSError):  # the group may go while it is read
                found |= {int(pid) for pid in group.read_text().split()}
    return found


def _pass_controllers_on(root: Path) -> None:
    """Version 2 gives a group the controllers that its parent passes on; the kubelet wants all."""
    control = root / "cgroup.subtree_control"
    if not control.exists():
        return  # version 1: a hierarchy is its controllers
    for controller in (root / "cgroup.controllers").read_text().split():
        with suppress(OSError):  # not every controller can be passed on; the kubelet says which
            control.write_text(f"+{controller}")


def _remove(group: Path, deadline: float) -> None:
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:  # busy while a killed process is not quite gone
            if time.monotonic() > deadline:
                raise ClusterError(f"The control group {group} stays busy: {error}") from error
            time.sleep(_POLL)
        else:
            return


def _hierarchies() -> Iterator[Path]:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            yield Path(place)
