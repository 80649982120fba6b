"""Results as tables."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.queue_moves import Move


def moves(found: Sequence[Move]) -> Table:
    table = Table("move", "calls", "p50 ms", "p99 ms", "worst ms", "Redis µs per call")
    for one in found:
        table.add_row(
            one.name,
            f"{one.calls}",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.worst_ms:.2f}",
            f"{one.redis_us:.0f}",
        )
    return table
