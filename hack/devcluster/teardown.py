"""Takes away all that a cluster has on this machine, however it was left."""

import shutil
import subprocess
from pathlib import Path

from devcluster import cgroups, netns, processes
from devcluster.instance import Instance
from devcluster.roster import Roster


def tear_down(instance: Instance) -> bool:
    """Leave no process, mount, namespace, link, control group or file; False if there was none.

    Nothing is asked to end in peace: its data goes too.
    """
    found = _end_processes(instance)
    if netns.inode(instance) is not None:
        netns.delete(instance)
        found = True
    if cgroups.exists(instance.label):
        cgroups.delete(instance.label)
        found = True
    if instance.state.exists():
        _unmount_below(instance.state)
        shutil.rmtree(instance.state)
        found = True
    return found


def _end_processes(instance: Instance) -> bool:
    """End those we know, those in the namespace and the pods', then those that name our folder.

    All are looked for before the first is ended: the kernel ends the rest of a node with its first
    process, and one that is just ending has no namespace any more to be found by, and to be waited for.
    """
    known = Roster(state=instance.state).processes().values()
    found = any(process.alive() for process in known)
    inode = netns.inode(instance)
    inside = processes.of_network_namespace(inode) if inode is not None else []
    pods = [
        process
        for pid in cgroups.members(instance.label)
        if (process := processes.Process.running(pid)) is not None
    ]
    processes.end([*known, *inside, *pods], grace=0)
    strays = processes.of_folder(instance.state)
    processes.end(strays, grace=0)
    return found or bool(inside or pods or strays)


def _unmount_below(folder: Path) -> None:
    """A node's mounts are its own; this is for what else was mounted there, never to delete it."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=True)
