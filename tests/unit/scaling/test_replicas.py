"""How many workers: up at once, down with care, never on what is unknown."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.world import START, make_queue, make_spec
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
    cannot_start: str | None = None,
    woken_by: str | None = None,
    queue: Mapping[str, Any] = MappingProxyType({}),
    **spec: Any,
) -> Replicas:
    return desired_replicas(
        make_spec(**spec),
        make_queue(pending=pending, in_flight=in_flight, **queue),
        current=current,
        memory=memory or Memory(),
        now=START + at * SECOND,
        cannot_start=cannot_start,
        woken_by=woken_by,
    )


def quiet(wanted: int) -> Memory:
    """Of an object that has needed `wanted` workers for ten minutes, and had no task for so long."""
    return Memory(recommendations=((START - SECOND, wanted),), empty_since=START - 600 * SECOND)


@pytest.mark.parametrize(
    ("sentence", "seen", "count", "message"),
    [
        (
            "zero to the maximum is one step",
            {"pending": 1000},
            10,
            "1000 due + 0 running / 4 per worker = 250 replicas, capped at maxReplicas 10; was 0",
        ),
        (
            "what woke the operator is told",
            {"pending": 12, "in_flight": 3, "woken_by": "task.created"},
            4,
            "12 due + 3 running / 4 per worker = 4 replicas; was 0; woken by task.created",
        ),
        (
            "what woke the operator for nothing is not",
            {"pending": 12, "current": 3, "woken_by": "task.created"},
            3,
            "12 due + 0 running / 4 per worker = 3 replicas; unchanged",
        ),
        (
            "a fixed number goes before the queue",
            {"pending": 12, "replicas": 7, "current": 2},
            7,
            "7 replicas: spec.replicas says so, the queue is not asked; was 2",
        ),
        (
            "a fixed number is taken down to at once: it is a person's",
            {"replicas": 1, "current": 9},
            1,
            "1 replica: spec.replicas says so, the queue is not asked; was 9",
        ),
        (
            "a pause goes before a fixed number",
            {"pending": 12, "replicas": 7, "current": 7, "paused": True},
            0,
            "0 replicas: spec.paused is true; was 7",
        ),
        (
            "a maximum that was lowered holds at once: it is a person's",
            {"pending": 90, "current": 9, "scaling": {"maxReplicas": 3}},
            3,
            "90 due + 0 running / 4 per worker = 23 replicas, capped at maxReplicas 3; was 9",
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
    lull = decide(pending=4, current=6, memory=busy.memory, at=10)
    assert (lull.count, lull.action, lull.reason) == (6, "Hold", "StabilizationWindow")
    assert lull.message == (
        "holding 6: 4 due + 0 running / 4 per worker = 1 replica, but 6 wanted within the last 1m;"
        " until 10:41:10 (scaleDown.stabilization)"
    )
    assert lull.until == START + 70 * SECOND
    still = decide(pending=4, current=6, memory=lull.memory, at=69)
    assert (still.count, still.until) == (6, lull.until)
    over = decide(pending=4, current=6, memory=still.memory, at=70)
    assert (over.count, over.action) == (3, "ScaleDown")


def test_the_highest_number_wanted_in_the_window_is_as_far_as_it_goes_down() -> None:
    first = decide(pending=40, current=10)
    second = decide(pending=28, current=10, memory=first.memory, at=1)
    third = decide(pending=4, current=10, memory=second.memory, at=50)
    assert (third.count, third.action) == (10, "Hold")
    third = decide(pending=4, current=10, memory=third.memory, at=70)
    assert (third.count, third.action, third.reason) == (7, "ScaleDown", "StabilizationWindow")
    assert third.message.endswith(
        "but 7 wanted within the last 1m (scaleDown.stabilization); was 10"
    )


def test_it_goes_down_in_steps_with_a_pause_between_them() -> None:
    memory, current, moves = Memory(), 10, []
    for second in range(400):
        replicas = decide(current=current, memory=memory, at=second)
        if replicas.count != current:
            moves.append((second, replicas.count, replicas.reason))
        memory, current = replicas.memory, replicas.count
    assert moves == [
        (60, 5, "StepLimit"),
        (75, 2, "StepLimit"),
        (90, 1, "CooldownToZero"),
        (120, 0, "QueueDepth"),
    ]


@pytest.mark.parametrize(
    ("sentence", "policy", "numbers", "pause"),
    [
        ("half of them, rounded up", {}, [10, 5, 2, 1], 15),
        ("a number of them", {"maxStep": 4}, [10, 6, 2, 1], 15),
        ("all of them", {"maxStep": "100%"}, [10, 1], 15),
        ("a short window makes short pauses", {"stabilization": "4s"}, [10, 5, 2, 1], 4),
        ("but no window still makes some", {"stabilization": "0s"}, [10, 5, 2, 1], 1),
    ],
)
def test_the_size_of_a_step_down_is_the_objects_choice(
    sentence: str, policy: dict[str, Any], numbers: list[int], pause: int
) -> None:
    memory, current, moves = Memory(), 10, []
    for second in range(120):
        replicas = decide(
            pending=1, current=current, memory=memory, at=second, scaling={"scaleDown": policy}
        )
        if replicas.count != current:
            moves.append((second, replicas.count))
        memory, current = replicas.memory, replicas.count
    assert [10, *(count for _, count in moves)] == numbers, sentence
    seconds = [second for second, _ in moves]
    assert {late - early for early, late in pairwise(seconds)} <= {pause}, sentence


def test_between_two_steps_it_says_when_the_next_one_is_due() -> None:
    first = decide(pending=1, current=10, memory=quiet(0))
    assert first.message == (
        "1 due + 0 running / 4 per worker = 1 replica, in steps of 50% (scaleDown.maxStep); was 10"
    )
    between = decide(pending=1, current=first.count, memory=first.memory, at=14)
    assert (between.count, between.action, between.reason) == (5, "Hold", "StepLimit")
    assert between.message == (
        "holding 5: 1 due + 0 running / 4 per worker = 1 replica, in steps of 50%;"
        " until 10:40:15 (scaleDown.maxStep)"
    )


def test_new_work_in_the_middle_of_a_way_down_is_answered_at_once() -> None:
    down = decide(pending=4, current=10, memory=quiet(0))
    up = decide(pending=36, current=down.count, memory=down.memory, at=1)
    assert (down.count, up.count, up.action) == (5, 9, "ScaleUp")


def test_steps_up_are_limited_only_where_the_object_says_so() -> None:
    scaling = {"maxReplicas": 100, "scaleUp": {"maxStep": "100%"}}
    memory, current, moves = Memory(), 0, []
    for second in range(60):
        replicas = decide(pending=100, current=current, memory=memory, at=second, scaling=scaling)
        if replicas.count != current:
            moves.append((second, replicas.count))
        memory, current = replicas.memory, replicas.count
    assert moves == [(0, 1), (5, 2), (10, 4), (15, 8), (20, 16), (25, 25)]


def test_between_two_steps_up_it_says_when_the_next_one_is_due() -> None:
    scaling = {"scaleUp": {"maxStep": 3}}
    first = decide(pending=40, scaling=scaling)
    assert first.message == (
        "40 due + 0 running / 4 per worker = 10 replicas, in steps of 3 (scaleUp.maxStep); was 0"
    )
    assert (first.wanted, first.count, first.until) == (10, 3, START + 5 * SECOND)
    between = decide(pending=40, current=3, memory=first.memory, at=4, scaling=scaling)
    assert (between.count, between.action, between.reason) == (3, "Hold", "StepLimit")
    assert between.message.endswith("in steps of 3; until 10:40:05 (scaleUp.maxStep)")


def test_the_minimum_is_reached_at_once_whatever_limits_a_step() -> None:
    scaling = {"minReplicas": 8, "scaleUp": {"maxStep": 1}}
    replicas = decide(memory=Memory(raised_at=START), scaling=scaling)
    assert (replicas.count, replicas.action) == (8, "ScaleUp")


def test_the_last_worker_stays_for_the_cooldown_after_the_last_task() -> None:
    spec: dict[str, Any] = {
        "scaling": {"scaleDown": {"stabilization": "10s", "cooldownToZero": "2m"}}
    }
    busy = decide(pending=8, current=2, **spec)
    empty = decide(current=2, memory=busy.memory, at=0, **spec)
    assert (empty.count, empty.action, empty.reason) == (2, "Hold", "StabilizationWindow")
    empty = decide(current=2, memory=empty.memory, at=11, **spec)
    assert (empty.count, empty.action, empty.reason) == (1, "ScaleDown", "CooldownToZero")
    waiting = decide(current=1, memory=empty.memory, at=119, **spec)
    assert (waiting.count, waiting.action) == (1, "Hold")
    assert waiting.message == (
        "holding 1: 0 due + 0 running / 4 per worker = 0 replicas, but empty only since 10:40:00;"
        " until 10:42:00 (scaleDown.cooldownToZero)"
    )
    gone = decide(current=1, memory=waiting.memory, at=120, **spec)
    assert (gone.count, gone.action) == (0, "ScaleDown")


@pytest.mark.parametrize(
    ("sentence", "queue", "count"),
    [
        ("a waiting task", {"pending": 1}, 1),
        ("a running task", {"in_flight": 1}, 1),
        ("a task that is due before a worker could be ready", {"delayed": 1, "soon": 1}, 1),
        ("a task that is due later does not", {"delayed": 1}, 0),
    ],
)
def test_what_keeps_the_last_worker(sentence: str, queue: dict[str, int], count: int) -> None:
    long_ago = quiet(0)
    seen = desired_replicas(make_spec(), make_queue(**queue), current=1, memory=long_ago, now=START)
    assert seen.count == count, sentence


def test_a_depth_that_is_only_estimated_takes_no_worker_away() -> None:
    memory = quiet(0)
    replicas = decide(pending=8, current=6, memory=memory, queue={"estimated": True})
    assert (replicas.count, replicas.action, replicas.reason) == (6, "Hold", "EstimatedDepth")
    assert replicas.message == (
        "holding 6: 8 due + 0 running / 4 per worker = 2 replicas,"
        " but most of the waiting tasks have not been looked at yet"
    )
    more = decide(pending=28, current=6, memory=memory, queue={"estimated": True})
    assert (more.count, more.action) == (7, "ScaleUp")


BROKEN = "2 of 3 workers cannot start"


def test_workers_that_cannot_start_do_not_drive_the_number_up() -> None:
    replicas = decide(pending=40, current=3, cannot_start=BROKEN)
    assert (replicas.count, replicas.wanted) == (3, 10)
    assert (replicas.action, replicas.reason) == ("Hold", "WorkersCannotStart")
    assert replicas.message == (
        "holding 3: 40 due + 0 running / 4 per worker = 10 replicas,"
        " but 2 of 3 workers cannot start: none is added until they can"
    )
    started = decide(pending=40, current=3, memory=replicas.memory, at=1)
    assert (started.count, started.action) == (10, "ScaleUp")


@pytest.mark.parametrize(
    ("sentence", "seen", "count"),
    [
        ("from zero up there is none yet that could fail", {"pending": 40, "current": 0}, 10),
        ("fewer are still needed", {"pending": 4, "current": 2}, 1),
        ("a person's number holds", {"replicas": 7, "current": 3}, 7),
        ("the minimum holds", {"scaling": {"minReplicas": 5}, "pending": 40, "current": 3}, 5),
    ],
)
def test_what_workers_that_cannot_start_do_not_hinder(
    sentence: str, seen: dict[str, Any], count: int
) -> None:
    memory = quiet(0)
    assert decide(memory=memory, cannot_start=BROKEN, **seen).count == count, sentence


def test_an_operator_that_just_started_takes_nothing_away_for_one_window() -> None:
    assert decide(current=6, memory=Memory()).count == 6


def test_what_the_last_look_wanted_counts_until_the_next_one() -> None:
    """A poll may be 30 seconds later, and nobody knows when the work came to its end."""
    busy = decide(pending=24, current=6)
    empty = decide(current=6, memory=busy.memory, at=30)
    assert empty.until == START + 90 * SECOND
    assert decide(current=6, memory=empty.memory, at=89).count == 6
    assert decide(current=6, memory=empty.memory, at=90).count == 3
    assert empty.memory.empty_since == START + 30 * SECOND


counts = st.integers(0, 2000)
limits = st.tuples(st.integers(0, 50), st.integers(1, 100)).filter(lambda pair: pair[0] <= pair[1])


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    """What is remembered after some visits to a queue, the last of them just before `START`."""
    visits = draw(st.lists(st.tuples(st.integers(1, 90), st.integers(0, 400)), max_size=6))
    memory, current = Memory(), draw(st.integers(0, 100))
    at = -sum(seconds for seconds, _ in visits)
    for seconds, depth in visits:
        replicas = decide(
            pending=depth, current=current, memory=memory, at=at, scaling={"maxReplicas": 100}
        )
        memory, current = replicas.memory, replicas.count
        at += seconds
    return memory


@given(pending=counts, in_flight=counts, current=st.integers(0, 100), limits=limits, data=st.data())
def test_the_number_is_always_within_the_limits(
    pending: int, in_flight: int, current: int, limits: tuple[int, int], data: st.DataObject
) -> None:
    low, high = limits
    replicas = decide(
        pending=pending,
        in_flight=in_flight,
        current=current,
        memory=data.draw(memories()),
        cannot_start=data.draw(st.sampled_from([None, BROKEN])),
        queue={"estimated": data.draw(st.booleans())},
        scaling={
            "minReplicas": low,
            "maxReplicas": high,
            "scaleUp": data.draw(st.sampled_from([{}, {"maxStep": 1}])),
        },
    )
    assert low <= replicas.count <= high
    assert low <= replicas.wanted <= high


@given(
    pending=counts,
    more=counts,
    in_flight=counts,
    current=st.integers(0, 20),
    memory=memories(),
    alike=st.fixed_dictionaries(
        {
            "cannot_start": st.sampled_from([None, BROKEN]),
            "queue": st.fixed_dictionaries({"estimated": st.booleans(), "soon": counts}),
            "scaling": st.fixed_dictionaries(
                {"maxReplicas": st.integers(5, 50)},
                optional={
                    "scaleUp": st.just({"maxStep": 2}),
                    "scaleDown": st.sampled_from([{"maxStep": 1}, {"stabilization": "0s"}]),
                },
            ),
        }
    ),
)
def test_more_work_never_means_fewer_replicas(
    pending: int,
    more: int,
    in_flight: int,
    current: int,
    memory: Memory,
    alike: dict[str, Any],
) -> None:
    less = decide(pending=pending, in_flight=in_flight, current=current, memory=memory, **alike)
    greater = decide(
        pending=pending + more, in_flight=in_flight, current=current, memory=memory, **alike
    )
    assert greater.count >= less.count


def follow(
    depths: Iterable[tuple[float, int]], current: int = 0, **spec: Any
) -> list[tuple[float, int]]:
    """When the number changes, and to what, while the queue has these depths at these seconds."""
    memory, moves = Memory(), []
    for second, depth in depths:
        replicas = decide(pending=depth, current=current, memory=memory, at=second, **spec)
        if replicas.count != current:
            moves.append((second, replicas.count))
        memory, current = replicas.memory, replicas.count
    return moves


@given(
    peaks=st.lists(st.tuples(st.integers(1, 59), st.lists(counts, max_size=5)), max_size=20),
    top=st.integers(1, 2000),
)
def test_noise_that_reaches_its_top_within_every_window_moves_the_number_once(
    peaks: list[tuple[int, list[int]]], top: int
) -> None:
    """Whatever lies between the peaks, however long it goes on: one move up, and none down."""
    depths, second = [(0.0, top)], 0.0
    for gap, between in peaks:
        for number, depth in enumerate(between, start=1):
            depths.append((second + gap * number / (len(between) + 1), min(depth, top)))
        second += gap
        depths.append((second, top))
    assert follow(depths) == [(0.0, min(10, -(-top // 4)))]


@given(
    low=st.integers(0, 60),
    spread=st.integers(0, 60),
    noise=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=60),
    current=st.integers(0, 30),
)
def test_bounded_noise_causes_a_bounded_number_of_moves(
    low: int, spread: int, noise: list[tuple[int, int]], current: int
) -> None:
    """At most one turn from up to down in a window, and between turns no more moves than levels.

    So a queue that wobbles between `low` and `low + spread` for a time T moves the number at most
    2 · levels · (T / window + 2) times, whatever the noise; and nowhere but between the levels that
    the two ends need, once it has got there.
    """
    scaling = {"maxReplicas": 100}
    second, depths = 0, []
    for seconds, depth in noise:
        depths.append((float(second), low + depth % (spread + 1)))
        second += seconds
    moves = follow(depths, current, scaling=scaling)
    fewest, most = -(-low // 4), -(-(low + spread) // 4)
    levels = max(most, current) - min(fewest, current)
    turns = second / 60 + 2
    assert len(moves) <= 2 * levels * turns

    numbers = [current, *(count for _, count in moves)]
    ups = [move for move, before in zip(moves, numbers, strict=False) if move[1] > before]
    downs = [move for move, before in zip(moves, numbers, strict=False) if move[1] < before]
    for raised_at, raised_to in ups:
        within = [n for second, n in downs if raised_at < second < raised_at + 60]
        assert all(number >= raised_to for number in within)
    assert all(min(fewest, current) <= number <= max(most, current) for number in numbers)
