"""Whom an announced task concerns: the same rule by which it is claimed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_queue import Announcement, Event, Task

OURS = ("ops", "ops_agent")


def announced(agent: str | None) -> str:
    return Event.created(Task.new(type="monitor", payload={}, assigned_to=agent)).encode()


@pytest.mark.parametrize(
    ("agent", "agents", "concerned"),
    [
        ("ops", OURS, True),
        ("ops_agent", OURS, True),
        ("dev", OURS, False),
        (None, OURS, False),
        ("", OURS, False),
        ("dev", (), True),
        (None, (), True),
    ],
)
def test_a_task_concerns_those_who_take_it(
    agent: str | None, agents: tuple[str, ...], concerned: bool
) -> None:
    assert Announcement.read(announced(agent)).concerns(agents) is concerned


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"payload": null}', '{"payload": {"assigned_to": 3}}', "\udcff"]
)
def test_what_nobody_can_read_concerns_everybody(text: str) -> None:
    assert Announcement.read(text).concerns(OURS)
    assert Announcement.read(text).concerns(())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_reading_fails_with_no_payload(payload: object) -> None:
    assert Announcement.read(json.dumps({"payload": payload})).concerns(OURS)
