"""The command line."""

import sys

from cyclopts import App
from rich.console import Console

from benchmarks import queue_moves, tables
from benchmarks.failure import BenchmarkError
from devcluster.failure import ClusterError

app = App(
    name="benchmarks", help="What the queue and the worker cost, and what crashes do to tasks."
)


@app.command
def queue(*, waiting: int = 20_000, foreign: int = 10_000, calls: int = 300) -> None:
    """The queue's moves by themselves, without a worker (30 s)."""
    moves = queue_moves.measure(waiting=waiting, foreign=foreign, calls=calls)
    Console().print(tables.moves(moves))


def main() -> None:
    try:
        sys.exit(app())
    except (BenchmarkError, ClusterError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
