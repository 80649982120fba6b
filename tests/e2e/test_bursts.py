"""Bursts of short and of long tasks: from zero to the maximum and back, and nothing is interrupted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devcluster.provider import LocalProvider
from e2e.arena import CONCURRENCY, Arena
from fixtures import audit

pytestmark = pytest.mark.e2e

CYCLES = 2
"""How often it goes from zero to the maximum and back."""
MOST = 4
"""Workers."""
LONG, SHORT = 2, 14
"""Tasks of each burst: together they need more workers than there may be."""
PATIENCE = "10m"
"""How long a worker may take to become idle: longer than this test lasts."""


@pytest.mark.timeout(900)  # each of its waits may take a minute
def test_bursts_of_long_and_short_tasks_are_served_from_zero_and_none_is_interrupted(
    arena: Arena,
) -> None:
    arena.create_resting_worker(
        scaling={**arena.spec["scaling"], "maxReplicas": MOST},
        worker={**arena.spec["worker"], "drainTimeout": PATIENCE},
    )
    for cycle in range(CYCLES):
        # From zero, in one write.
        with deployment_writes(arena) as writes:
            held = burst(arena, gate=f"first-{cycle}")
            arena.until_ready(MOST)
        assert writes in (None, ["patch"])
        arena.release(f"first-{cycle}-short")

        # Idle workers go; those that hold a long task stay with it.
        until_only_holders_stay(arena, held)

        # In the middle of it comes more.
        more = burst(arena, gate=f"second-{cycle}")
        arena.until(lambda more=more: {*more} <= {*arena.owners()}, "the next long tasks to begin")  # type: ignore[misc] # bound at once
        assert {*held} <= {*arena.owners()}
        arena.release(f"second-{cycle}-short")
        arena.release(f"first-{cycle}")
        until_only_holders_stay(arena, more)

        arena.release(f"second-{cycle}")
        arena.until_done()
        arena.until_at_rest()

    expect_one_attempt_each(arena)


def burst(arena: Arena, *, gate: str) -> list[str]:
    """Enqueue a burst at once; returns its long tasks. Both kinds take until their gates are opened."""
    long = [arena.hold(gate) for _ in range(LONG)]
    short = [arena.hold(f"{gate}-short") for _ in range(SHORT)]
    return arena.enqueue_at_once(*long, *short)[:LONG]


def until_only_holders_stay(arena: Arena, held: list[str]) -> None:
    """Until all but the long tasks are done, and of the workers only those remain that have them."""

    def settled() -> bool:
        owners = arena.owners()
        return set(owners) == set(held) and set(arena.pods()) == set(owners.values())

    arena.until(settled, "idle workers to go, and only those")
    assert arena.view().desired >= -(-len(held) // CONCURRENCY)


def expect_one_attempt_each(arena: Arena) -> None:
    """By the orchestrator's records, by what was announced and by the service that was called."""
    assert arena.tally().completed == set(arena.tasks)
    for task_id in arena.tasks:
        assert arena.announcements.started[task_id] == 1
        record = json.loads(str(arena.redis.hget(arena.keys.record(task_id), "data")))
        assert record["retry_count"] == 0
    assert arena.journal("started") == dict.fromkeys(arena.tasks, 1)
    assert arena.journal("answered") == dict.fromkeys(arena.tasks, 1)
    assert arena.counted("rescued") == 0


@contextmanager
def deployment_writes(arena: Arena) -> Iterator[list[str] | None]:
    """The verbs of the operator's writes to Deployments meanwhile; None where nobody writes them down."""
    provider = arena.stage.provider
    if not isinstance(provider, LocalProvider):
        yield None
        return
    verbs: list[str] = []
    with audit.writes(provider.audit_log, namespace=arena.namespace) as writes:
        yield verbs
    verbs += [verb for verb, target in writes if target.startswith("deployments/")]
