"""Takes away all that a cluster has on this machine, however it was left."""

import shutil

from devcluster import processes
from devcluster.instance import Instance
from devcluster.roster import Roster


def tear_down(instance: Instance) -> bool:
    """Leave no process and no file of `instance`; False if there was nothing."""
    known = Roster(state=instance.state).processes().values()
    processes.end(known, grace=0)  # their data goes too: there is nothing to finish
    strays = processes.of_folder(instance.state)
    processes.end(strays, grace=0)
    existed = instance.state.exists()
    if existed:
        shutil.rmtree(instance.state)
    return existed or bool(strays)
