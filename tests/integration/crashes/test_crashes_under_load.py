"""Workers and Redis crash while tasks run; short versions of `make bench-crashes`."""

import pytest

from benchmarks.crashes import LEASE_SECONDS, Outage, kills, outages, terminations

pytestmark = pytest.mark.integration

SEED = 7
TASKS = 3_000
"""Busy for five seconds."""


def _unheard(_crashes: int) -> None:
    pass


def test_killed_workers_lose_no_task_and_burn_no_attempt() -> None:
    found = kills(count=3, tasks=TASKS, seed=SEED, progress=_unheard)

    assert found.kills == 3
    assert found.interrupted > 0, "no kill hit a running handler: nothing was tried"
    assert found.held >= found.interrupted, "a handler ran without a lease"
    assert found.verdict.lost == []
    assert found.verdict.failed == []
    assert found.verdict.attempts_burnt == 0
    assert found.verdict.executed_again > 0
    assert len(found.rescue_seconds) == found.interrupted, (
        "not every interrupted handler began anew"
    )
    # Promised is the lease and a second; a machine that is busy otherwise gets twice as much again.
    assert max(found.rescue_seconds) < 3 * (LEASE_SECONDS + 1)


def test_terminated_workers_finish_what_they_run_and_hand_back_the_rest_uncounted() -> None:
    found = terminations(count=3, tasks=TASKS, seed=SEED, progress=_unheard)

    assert found.terminations == 3
    assert found.verdict.lost == []
    assert found.verdict.failed == []
    assert found.verdict.executed_again == 0
    assert found.verdict.attempts_burnt == 0
    # Not the second that is promised, but less than what waiting for a time-out would take.
    assert max(found.overrun_seconds) < 8


@pytest.mark.parametrize("kind", ["frozen", "killed"])
def test_workers_live_through_an_outage_of_redis_and_go_on(kind: Outage) -> None:
    found = outages(
        kind,
        count=1,
        tasks=TASKS,
        seconds=2,
        lease_seconds=30,
        seed=SEED,
        progress=_unheard,
    )

    assert len(found.resume_seconds) == 1
    assert found.workers_ended == 0
    assert found.verdict.lost == []
    assert found.verdict.failed == []
    assert found.verdict.executed_again == 0, "the leases were longer than the outage"
    assert found.verdict.attempts_burnt == 0
