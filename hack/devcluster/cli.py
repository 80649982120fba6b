"""The command line."""

import sys
from pathlib import Path

from cyclopts import App
from rich.console import Console
from rich.table import Table

from devcluster import debian, gobuild
from devcluster.cluster import Cluster, Mode
from devcluster.failure import ClusterError
from devcluster.images import OPERATOR, WORKER, image_builder
from devcluster.instance import Instance
from devcluster.provider import ClusterProvider, LocalProvider, chosen

app = App(name="devcluster", help="A local Kubernetes for development and tests.")


def _provider(mode: Mode) -> ClusterProvider:
    if mode is Mode.LIGHT:
        return LocalProvider(Cluster(Instance.of_checkout(mode), mode))
    return chosen()


@app.command
def up(mode: Mode = Mode.NODE) -> None:
    """Start this clone's cluster; does nothing if it runs, repairs it if it is broken."""
    provider = _provider(mode)
    provider.create()
    print(f"export KUBECONFIG={provider.kubeconfig}")


@app.command
def down(mode: Mode = Mode.NODE) -> None:
    """Remove this clone's cluster and everything it has on this machine."""
    _provider(mode).delete()


@app.command
def status(mode: Mode = Mode.NODE) -> int:
    """Show what runs and how to reach it; the exit code is 0 if the cluster is ready."""
    console = Console()
    provider = _provider(mode)
    if isinstance(provider, LocalProvider):
        state = provider.cluster.status()
        table = Table("component", "state")
        for name, alive in state.processes.items():
            table.add_row(name, "running" if alive else "[red]ended")
        if state.processes:
            console.print(table)
        ready = state.ready
        if state.registry:
            console.print(f"registry    {state.registry}")
        if state.processes:
            console.print(f"logs        {provider.cluster.instance.state / 'log'}")
    else:
        ready = provider.ready()
    console.print(f"cluster     {provider.cluster_name} is {'ready' if ready else 'not ready'}")
    if ready:
        console.print(f"reach it    export KUBECONFIG={provider.kubeconfig}", soft_wrap=True)
    return 0 if ready else 1


@app.command
def kubeconfig(mode: Mode = Mode.NODE) -> None:
    """Print where this clone's kubeconfig is."""
    print(_provider(mode).kubeconfig)


@app.command
def build(mode: Mode = Mode.NODE) -> None:
    """Build or install the programs of a mode, without starting anything."""
    if mode is Mode.NODE:
        debian.ensure(debian.NODE)
    for name, path in gobuild.build(gobuild.OF_MODE[mode]).items():
        print(f"{name}\t{path}")


@app.command
def images() -> None:
    """Build the project's images, without a cluster."""
    for dockerfile in (OPERATOR, WORKER):
        print(image_builder().build(dockerfile))


@app.command
def load(dockerfile: Path, *, base: Path | None = None, tag: str = "dev") -> None:
    """Build an image, on that of the Dockerfile `base`, and publish it; prints the reference for pods."""
    provider = chosen()
    below = None if base is None else provider.images.build(base.resolve())
    image = provider.images.build(dockerfile.resolve(), base=below)
    name = image.rpartition("/")[2].partition(":")[0]
    print(provider.publish(image, name=name, tag=tag))


@app.command
def registry() -> None:
    """Print host and port of the image registry of this clone's node."""
    provider = chosen()
    if not isinstance(provider, LocalProvider):
        raise ClusterError(f"{provider.cluster_name} brings no registry.")
    print(provider.registry)


def main() -> None:
    """Exits with 1, after one sentence, when something cannot be done."""
    try:
        sys.exit(app())
    except ClusterError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped; `devcluster up` goes on, `devcluster down` clears away.", file=sys.stderr)
        sys.exit(130)
