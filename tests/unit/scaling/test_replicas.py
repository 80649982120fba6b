"""How many workers: up at once, down with care, never on what is unknown."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.world import START, UNREACHABLE, make_queue, make_spec
from opsagent_operator.decide.replicas import Replicas, desired_replicas
from opsagent_operator.model.observed import Memory

SECOND = timedelta(seconds=1)


def decide(
    *,
    pending: int = 0,
    in_flight: int = 0,
    current: int = 0,
    memory: Memory | None = None,
    at: float = 0,
    **spec: Any,
) -> Replicas:
    return desired_replicas(
        make_spec(**spec),
        make_queue(pending=pending, in_flight=in_flight),
        current=current,
        memory=memory or Memory(),
        now=START + at * SECOND,
    )


@pytest.mark.parametrize(
    ("sentence", "seen", "count", "message"),
    [
        (
            "waiting and running tasks both need room",
            {"pending": 12, "in_flight": 3},
            4,
            "12 due + 3 running / 4 per worker = 4 replicas; was 0",
        ),
        (
            "one task is enough for one worker",
            {"pending": 1},
            1,
            "1 due + 0 running / 4 per worker = 1 replica; was 0",
        ),
        (
            "zero to the maximum is one step",
            {"pending": 1000},
            10,
            "1000 due + 0 running / 4 per worker = 250 replicas, capped at maxReplicas 10; was 0",
        ),
        (
            "the minimum runs without any task",
            {"scaling": {"minReplicas": 2}},
            2,
            "0 due + 0 running / 4 per worker = 0 replicas, raised to minReplicas 2; was 0",
        ),
        (
            "tasksPerReplica goes before the worker's concurrency",
            {"pending": 12, "scaling": {"tasksPerReplica": 2}},
            6,
            "12 due + 0 running / 2 per worker = 6 replicas; was 0",
        ),
        (
            "a fixed number goes before the queue",
            {"pending": 12, "replicas": 7, "current": 2},
            7,
            "7 replicas: spec.replicas says so, the queue is not asked; was 2",
        ),
        (
            "a pause goes before a fixed number",
            {"pending": 12, "replicas": 7, "current": 7, "paused": True},
            0,
            "0 replicas: spec.paused is true; was 7",
        ),
    ],
)
def test_the_number_follows_from_what_was_seen(
    sentence: str, seen: dict[str, Any], count: int, message: str
) -> None:
    replicas = decide(**seen)
    assert (replicas.count, replicas.message) == (count, message), sentence


def test_a_lull_takes_no_worker_away_before_the_window_has_passed() -> None:
    busy = decide(pending=24, current=6)
    lull = decide(pending=4, current=6, memory=busy.memory, at=59)
    assert (lull.count, lull.action, lull.reason) == (6, "Hold", "StabilizationWindow")
    assert lull.message == (
        "4 due + 0 running / 4 per worker = 1 replica, but 6 wanted within the last 1m:"
        " keeping 6 until 10:41:00 (scaleDown.stabilization)"
    )
    over = decide(pending=4, current=6, memory=lull.memory, at=61)
    assert (over.count, over.action) == (1, "ScaleDown")


def test_the_highest_number_wanted_in_the_window_is_as_far_as_it_goes_down() -> None:
    first = decide(pending=40, current=10)
    second = decide(pending=12, current=10, memory=first.memory, at=50)
    third = decide(pending=4, current=10, memory=second.memory, at=70)
    assert (third.count, third.action, third.reason) == (3, "ScaleDown", "StabilizationWindow")


def test_the_last_worker_stays_for_the_cooldown_after_the_last_task() -> None:
    spec: dict[str, Any] = {
        "scaling": {"scaleDown": {"stabilization": "10s", "cooldownToZero": "2m"}}
    }
    busy = decide(pending=8, current=2, **spec)
    empty = decide(current=2, memory=busy.memory, at=11, **spec)
    assert (empty.count, empty.action, empty.reason) == (1, "ScaleDown", "CooldownToZero")
    waiting = decide(current=1, memory=empty.memory, at=119, **spec)
    assert (waiting.count, waiting.action) == (1, "Hold")
    assert "keeping 1 until 10:42:00" in waiting.message
    gone = decide(current=1, memory=waiting.memory, at=120, **spec)
    assert (gone.count, gone.action) == (0, "ScaleDown")


def test_an_operator_that_just_started_takes_nothing_away_for_one_window() -> None:
    assert decide(current=6, memory=Memory()).count == 6


def test_what_is_unknown_holds_the_number_and_forgets_the_past() -> None:
    memory = decide(pending=4, current=1).memory
    frozen = desired_replicas(
        make_spec(), UNREACHABLE, current=6, memory=memory, now=START + 600 * SECOND
    )
    assert (frozen.count, frozen.action, frozen.reason) == (6, "Hold", "QueueUnknown")
    back = decide(current=6, memory=frozen.memory, at=601)
    assert (back.count, back.action) == (6, "Hold"), "an outage is not a quiet time"


counts = st.integers(0, 2000)
limits = st.tuples(st.integers(0, 50), st.integers(1, 100)).filter(lambda pair: pair[0] <= pair[1])


@given(pending=counts, in_flight=counts, current=st.integers(0, 100), limits=limits)
def test_the_number_stays_within_the_limits_once_the_window_has_passed(
    pending: int, in_flight: int, current: int, limits: tuple[int, int]
) -> None:
    low, high = limits
    spec: dict[str, Any] = {"scaling": {"minReplicas": low, "maxReplicas": high}}
    first = decide(pending=pending, in_flight=in_flight, current=current, **spec)
    later = decide(
        pending=pending,
        in_flight=in_flight,
        current=first.count,
        memory=first.memory,
        at=200,
        **spec,
    )
    assert low <= later.count <= high
    assert first.count <= max(high, current)


@given(
    pending=counts,
    more=counts,
    in_flight=counts,
    current=st.integers(0, 20),
    past=st.lists(counts, max_size=4),
)
def test_more_work_never_means_fewer_replicas(
    pending: int, more: int, in_flight: int, current: int, past: list[int]
) -> None:
    memory = Memory()
    for second, depth in enumerate(past):
        memory = decide(pending=depth, current=current, memory=memory, at=second).memory
    at = len(past)
    less = decide(pending=pending, in_flight=in_flight, current=current, memory=memory, at=at)
    greater = decide(
        pending=pending + more, in_flight=in_flight, current=current, memory=memory, at=at
    )
    assert greater.count >= less.count


@given(depths=st.lists(counts, min_size=2, max_size=20))
def test_no_noise_within_the_window_moves_the_number_down(depths: list[int]) -> None:
    memory, current, highest = Memory(), 0, 0
    for second, depth in enumerate(depths):
        replicas = decide(pending=depth, current=current, memory=memory, at=second)
        highest = max(highest, min(10, -(-depth // 4)))
        assert replicas.count == highest
        memory, current = replicas.memory, replicas.count
