"""What the demo sends, and what it says about the outcome."""

from collections import Counter
from dataclasses import replace

import pytest

from demo.ledger import Tally
from demo.scenes import Summary
from demo.workload import workload

NOTHING = Tally(
    completed=frozenset(),
    failed={},
    cancelled=frozenset(),
    waiting=frozenset(),
    running=frozenset(),
    lost=frozenset(),
)
ALL_WELL = Summary(
    tally=replace(NOTHING, completed=frozenset({"a"}), failed={"b": "broken on purpose"}),
    doomed=frozenset({"b"}),
    foreign_touched=frozenset(),
    done_twice=frozenset(),
    counted={},
    most_workers=4,
    first_start=1.0,
    all_workers_ready=2.0,
    all_done=3.0,
    none_left=4.0,
)


def test_sixty_tasks_are_of_every_type_and_priority_and_ten_of_other_agents() -> None:
    tasks = workload("http://sandbox")
    assert len(tasks.orders) == 60
    assert len(tasks.foreign) == 10
    ours = [order for order in tasks.orders if order.task_id in tasks.ours]
    assert {order.type for order in ours} == {"deploy", "monitor", "alert", "investigate"}
    assert {order.priority for order in ours} == {"P0", "P1", "P2", "P3"}
    assert {order.assigned_to for order in ours} == {"ops", "ops_agent"}
    assert len(tasks.doomed) == 2


def test_each_show_has_new_tasks_in_the_same_order() -> None:
    first, second = workload("http://sandbox"), workload("http://sandbox")
    assert not set(first.ours) & set(second.ours)
    assert [order.payload for order in first.orders] == [order.payload for order in second.orders]
    assert max(Counter(first.ours).values()) == 1


def test_tasks_sent_to_fail_are_no_complaint() -> None:
    assert ALL_WELL.complaints == []


@pytest.mark.parametrize(
    ("summary", "complaint"),
    [
        (replace(ALL_WELL, tally=replace(NOTHING, lost=frozenset({"c"}))), "1 tasks are lost: c"),
        (replace(ALL_WELL, done_twice=frozenset({"a"})), "tasks were done twice: a"),
        (
            replace(ALL_WELL, foreign_touched=frozenset({"f"})),
            "tasks of other agents were touched: f",
        ),
        (
            replace(ALL_WELL, tally=replace(NOTHING, failed={"a": "no route to host"})),
            "1 tasks failed: no route to host",
        ),
    ],
)
def test_what_must_not_be_is_said_in_a_sentence(summary: Summary, complaint: str) -> None:
    assert summary.complaints == [complaint]
