"""What is not known, or not to be believed, takes no worker away."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.world import START, UNREACHABLE, make_queue, make_spec
from opsagent_operator.decide.replicas import Replicas, desired_replicas
from opsagent_operator.decide.trust import learn_start_time
from opsagent_operator.model.observed import Memory, PodState, QueueState, Unreachable

SECOND = timedelta(seconds=1)
LONG_AGO = Memory(
    recommendations=((START - SECOND, 0),), empty_since=START - 3600 * SECOND, run_id="a"
)
"""Of a queue that has been empty for an hour."""
SEEN_EMPTY = replace(LONG_AGO, last_claim=7)
SEEN_WAITING = replace(LONG_AGO, last_claim=7, waited=True)


class Visits:
    """Decisions about one object, each starting from what the last one left."""

    def __init__(self, *, current: int, memory: Memory = LONG_AGO, **scaling: Any) -> None:
        self.spec = make_spec(scaling=scaling)
        self.current = current
        self.memory = memory

    def at(self, second: float, queue: QueueState | Unreachable) -> Replicas:
        replicas = desired_replicas(
            self.spec,
            queue,
            current=self.current,
            memory=self.memory,
            now=START + second * SECOND,
        )
        self.current, self.memory = replicas.count, replicas.memory
        return replicas


def restarted(**fields: Any) -> QueueState:
    """The queue in another run of its server."""
    return make_queue(run_id="b", **fields)


def test_what_is_unknown_holds_the_number() -> None:
    frozen = Visits(current=6).at(0, UNREACHABLE)
    assert (frozen.count, frozen.action, frozen.reason) == (6, "Hold", "QueueUnknown")
    assert frozen.message == "holding 6: the queue is unknown, and unknown is not zero"
    assert frozen.until is None, "without a fallback nothing changes by waiting"


def test_an_outage_is_not_a_quiet_time() -> None:
    visits = Visits(current=6)
    visits.at(0, UNREACHABLE)
    back = visits.at(601, make_queue(pending=4))
    assert (back.count, back.action, back.reason) == (6, "Hold", "StabilizationWindow")
    assert visits.at(661, make_queue(pending=4)).count == 3


def test_what_comes_back_with_more_work_is_answered_at_once() -> None:
    visits = Visits(current=6)
    visits.at(0, UNREACHABLE)
    back = visits.at(1, make_queue(pending=40))
    assert (back.count, back.action) == (10, "ScaleUp")
    assert back.memory.unknown_since is None


def test_the_minimum_holds_even_so() -> None:
    raised = Visits(current=0, minReplicas=2).at(0, UNREACHABLE)
    assert (raised.count, raised.action) == (2, "ScaleUp")


def test_after_a_while_the_fallback_applies_if_there_is_one() -> None:
    visits = Visits(current=2, whenUnknown={"after": "90s", "replicas": 5})
    waiting = visits.at(0, UNREACHABLE)
    assert (waiting.count, waiting.until) == (2, START + 90 * SECOND)
    assert waiting.message == (
        "holding 2: the queue is unknown, and unknown is not zero;"
        " 5 from 10:41:30 on (scaling.whenUnknown)"
    )
    assert visits.at(89, UNREACHABLE).count == 2
    fallback = visits.at(90, UNREACHABLE)
    assert (fallback.count, fallback.action, fallback.reason) == (5, "ScaleUp", "Fallback")
    assert fallback.message == (
        "5 replicas: the queue has been unknown since 10:40:00 (scaling.whenUnknown); was 2"
    )
    after = visits.at(100, UNREACHABLE)
    assert (after.count, after.action, after.reason) == (5, "Hold", "Fallback")


def test_one_good_look_starts_the_wait_anew() -> None:
    visits = Visits(current=2, whenUnknown={"after": "90s", "replicas": 5})
    visits.at(0, UNREACHABLE)
    visits.at(80, make_queue(pending=8))
    assert visits.at(81, UNREACHABLE).count == 2
    assert visits.at(170, UNREACHABLE).count == 2
    assert visits.at(171, UNREACHABLE).count == 5


@pytest.mark.parametrize(
    ("sentence", "current", "scaling", "count"),
    [
        ("it never takes a worker away", 7, {"whenUnknown": {"replicas": 5}}, 7),
        ("it stays within the maximum", 1, {"maxReplicas": 3, "whenUnknown": {"replicas": 5}}, 3),
        ("it stays within the minimum", 1, {"minReplicas": 8, "whenUnknown": {"replicas": 5}}, 8),
        ("what runs beyond the maximum stays", 7, {"maxReplicas": 3}, 7),
    ],
)
def test_what_a_fallback_does_not_do(
    sentence: str, current: int, scaling: dict[str, Any], count: int
) -> None:
    visits = Visits(current=current, **scaling)
    visits.at(0, UNREACHABLE)
    assert visits.at(600, UNREACHABLE).count == count, sentence


def test_a_queue_that_is_empty_after_a_restart_of_its_redis_is_not_believed_for_a_while() -> None:
    visits = Visits(current=6)
    held = visits.at(0, restarted())
    assert (held.count, held.action, held.reason) == (6, "Hold", "EmptyAfterRestart")
    assert held.until == START + 120 * SECOND
    assert held.message == (
        "holding 6: the queue is empty since its Redis was restarted or replaced, seen at"
        " 10:40:00; that is not believed until 10:42:00 (scaling.whenUnknown.after)"
    )
    assert visits.at(119, restarted()).reason == "EmptyAfterRestart"
    believed = visits.at(120, restarted())
    assert (believed.count, believed.reason) == (6, "StabilizationWindow")
    assert visits.at(179, restarted()).count == 6
    assert visits.at(180, restarted()).count == 3


@pytest.mark.parametrize("sign_of_life", [{"pending": 1}, {"in_flight": 1}, {"delayed": 1}])
def test_any_task_settles_that_the_queue_was_not_lost(sign_of_life: dict[str, int]) -> None:
    visits = Visits(current=6)
    visits.at(0, restarted())
    settled = visits.at(5, restarted(**sign_of_life))
    assert settled.reason == "StabilizationWindow"
    assert visits.at(6, restarted()).reason == "StabilizationWindow"


def test_an_outage_in_between_does_not_hide_that_the_server_began_anew() -> None:
    visits = Visits(current=6)
    visits.at(0, UNREACHABLE)
    assert visits.at(30, restarted()).reason == "EmptyAfterRestart"


@pytest.mark.parametrize(
    ("sentence", "memory", "queue", "current", "spec"),
    [
        ("the same run", LONG_AGO, make_queue(run_id="a"), 6, {}),
        ("a server that tells no run", LONG_AGO, make_queue(), 6, {}),
        ("the first look of an operator", Memory(), restarted(), 6, {}),
        ("no more than the minimum runs", LONG_AGO, restarted(), 2, {"minReplicas": 2}),
        ("there is work in the new run", LONG_AGO, restarted(pending=1), 6, {}),
        ("what waited was claimed since", SEEN_WAITING, restarted(last_claim=8), 6, {}),
        ("nothing waited, and no claim is forgotten", SEEN_EMPTY, restarted(last_claim=7), 6, {}),
    ],
)
def test_an_emptiness_that_is_believed(
    sentence: str, memory: Memory, queue: QueueState, current: int, spec: dict[str, Any]
) -> None:
    visits = Visits(current=current, memory=memory, **spec)
    assert visits.at(0, queue).reason != "EmptyAfterRestart", sentence
    assert visits.memory.emptied_at is None


@pytest.mark.parametrize(
    ("sentence", "memory", "queue"),
    [
        ("it has forgotten the last claim", SEEN_EMPTY, restarted(last_claim=6)),
        ("it knows of no claim", SEEN_WAITING, restarted(last_claim=0)),
        ("what waited is gone, and nobody claimed it", SEEN_WAITING, restarted(last_claim=7)),
        ("it does not tell its last claim any more", SEEN_WAITING, restarted()),
        ("it did not tell it before", LONG_AGO, restarted(last_claim=7)),
    ],
)
def test_an_emptiness_that_is_not_believed(
    sentence: str, memory: Memory, queue: QueueState
) -> None:
    assert Visits(current=6, memory=memory).at(0, queue).reason == "EmptyAfterRestart", sentence


def test_what_is_compared_is_what_was_seen_last() -> None:
    visits = Visits(current=6)
    visits.at(0, make_queue(run_id="a", pending=2, last_claim=7))
    visits.at(1, make_queue(run_id="a", last_claim=9))
    visits.at(2, UNREACHABLE)
    assert visits.at(3, restarted(last_claim=9)).reason == "StabilizationWindow"
    visits = Visits(current=6)
    visits.at(0, make_queue(run_id="a", delayed=1, last_claim=9))
    assert visits.at(1, restarted(last_claim=9)).reason == "EmptyAfterRestart"


@given(
    current=st.integers(0, 100),
    fallback=st.one_of(st.none(), st.integers(1, 100)),
    seconds=st.lists(st.integers(0, 300), min_size=1, max_size=20),
    empty=st.booleans(),
)
def test_whatever_is_unknown_for_however_long_nothing_goes(
    current: int, fallback: int | None, seconds: list[int], empty: bool
) -> None:
    visits = Visits(current=current, whenUnknown={"after": "2m", "replicas": fallback})
    for second in sorted(seconds):
        assert visits.at(second, UNREACHABLE).count >= current
    last = max(seconds)
    if empty:
        for second in range(last, last + 120):
            assert visits.at(second, restarted()).count >= current


def pod(name: str, created: datetime, ready_after: float | None, *, restarts: int = 0) -> PodState:
    return PodState(
        name=name,
        revision="a",
        ready=ready_after is not None,
        created_at=created,
        ready_at=None if ready_after is None else created + ready_after * SECOND,
        restarts=restarts,
    )


LATER = START + 60 * SECOND


@pytest.mark.parametrize(
    ("sentence", "pods", "seconds"),
    [
        ("a guess until a pod was seen", [], 5),
        ("a pod that is not ready tells nothing", [pod("p", START, None)], 5),
        ("what the newest pod took", [pod("p", START, 9), pod("q", LATER, 3)], 3),
        ("a pod that was restarted tells something else", [pod("p", START, 9, restarts=1)], 5),
        ("at least a second", [pod("p", START, 0)], 1),
        ("at most a minute", [pod("p", START, 3600)], 60),
    ],
)
def test_how_long_a_pod_takes_to_start_is_learnt(
    sentence: str, pods: list[PodState], seconds: float
) -> None:
    assert learn_start_time(Memory(), pods).start_time == seconds * SECOND, sentence
