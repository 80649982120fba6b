"""How many visits announcements cause, and when: in time that the test controls."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opsagent_operator.observe.audience import GATHER, GATHER_AT_MOST, SPACING_AT_MOST, Audience
from opsagent_operator.observe.cluster import Key
from unit.engine.conftest import JumpingLoop

Run = Callable[[Any], Any]
KEY, OTHER = Key("shop", "ops-agent"), Key("shop", "other")
A_MOMENT = 1e-6
"""Seconds: less than anything that is decided by the clock here."""


async def visits(told_at: Sequence[float]) -> list[tuple[float, float | None]]:
    """When an object was woken, and for which message, if messages come at these times from now."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    found: list[tuple[float, float | None]] = []

    def wake(_: Key, arrived: float | None) -> None:
        found.append((loop.time() - start, None if arrived is None else arrived - start))

    audience = Audience("tasks", frozenset(), wake)
    audience.keys[KEY] = None
    for at in told_at:
        loop.call_at(start + at, audience.tell)
    await asyncio.sleep(max(told_at, default=0) + 10)
    return found


def test_a_single_task_wakes_at_once(run: Run) -> None:
    ((woken, arrived),) = run(visits([1.0]))
    assert abs(woken - 1.0 - GATHER) < A_MOMENT
    assert abs(arrived - 1.0) < A_MOMENT


def test_tasks_that_come_together_wake_once(run: Run) -> None:
    found = run(visits([1.0 + number * GATHER / 4 for number in range(12)]))
    assert len(found) == 1
    assert found[0][0] <= 1.0 + GATHER_AT_MOST + A_MOMENT


def test_an_endless_stream_wakes_ten_times_a_second(run: Run) -> None:
    found = run(visits([number / 1000 for number in range(10_000)]))
    assert 95 <= len(found) <= 110
    gaps = [after[0] - before[0] for before, after in pairwise(found)]
    assert sorted(gaps) == gaps or max(gaps) <= SPACING_AT_MOST + GATHER_AT_MOST + A_MOMENT


def test_after_a_silence_the_next_task_wakes_at_once_again(run: Run) -> None:
    burst = [number / 1000 for number in range(1000)]
    found = run(visits([*burst, 2.0]))
    assert abs(found[-1][0] - 2.0 - GATHER) < A_MOMENT


def test_everybody_in_the_audience_is_woken(run: Run) -> None:
    async def work() -> None:
        woken: list[Key] = []
        audience = Audience("tasks", frozenset(), lambda key, _: woken.append(key))
        audience.keys.update({KEY: None, OTHER: None})
        audience.tell()
        del audience.keys[OTHER]
        await asyncio.sleep(1)
        audience.keys[OTHER] = None
        audience.tell()
        await asyncio.sleep(1)
        assert woken == [KEY, KEY, OTHER]

    run(work())


@given(st.lists(st.floats(0, 1), max_size=60))
def test_no_message_is_left_without_a_visit_that_begins_after_it(told_at: list[float]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        found = runner.run(visits(told_at))
    longest = SPACING_AT_MOST + GATHER_AT_MOST + A_MOMENT
    for at in told_at:
        assert any(at - A_MOMENT <= woken <= at + longest for woken, _ in found)
    # And nobody is woken for nothing, nor later than told.
    for woken, arrived in found:
        assert arrived is not None
        assert arrived <= woken
        assert any(abs(at - arrived) < A_MOMENT for at in told_at)
    assert len(found) <= len(told_at)
