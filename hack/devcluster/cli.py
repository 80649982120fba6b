"""The command line."""

import sys

from cyclopts import App
from rich.console import Console
from rich.table import Table

from devcluster import gobuild
from devcluster.cluster import Cluster, Mode
from devcluster.failure import ClusterError
from devcluster.instance import Instance

app = App(name="devcluster", help="A local Kubernetes for development and tests.")


def _cluster(mode: Mode) -> Cluster:
    return Cluster(Instance.of_checkout(mode), mode)


@app.command
def up(mode: Mode = Mode.NODE) -> None:
    """Start this clone's cluster; does nothing if it runs, repairs it if it is broken."""
    cluster = _cluster(mode)
    cluster.up()
    print(f"export KUBECONFIG={cluster.instance.kubeconfig}")


@app.command
def down(mode: Mode = Mode.NODE) -> None:
    """Remove this clone's cluster and everything it has on this machine."""
    _cluster(mode).down()


@app.command
def status(mode: Mode = Mode.NODE) -> int:
    """Show whether this clone's cluster runs; the exit code is 0 if it does."""
    cluster = _cluster(mode)
    state = cluster.status()
    table = Table("component", "state", title=f"{cluster.instance.name}: {state.server or 'down'}")
    for name, alive in state.processes.items():
        table.add_row(name, "running" if alive else "[red]ended")
    Console().print(table)
    return 0 if state.ready else 1


@app.command
def kubeconfig(mode: Mode = Mode.NODE) -> None:
    """Print where this clone's kubeconfig is."""
    print(_cluster(mode).instance.kubeconfig)


@app.command
def build(mode: Mode = Mode.NODE) -> None:
    """Build the programs of a mode into the cache, without starting anything."""
    wanted = gobuild.LIGHT if mode is Mode.LIGHT else gobuild.NODE
    for name, path in gobuild.build(wanted).items():
        print(f"{name}\t{path}")


def main() -> None:
    try:
        app()
    except ClusterError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
