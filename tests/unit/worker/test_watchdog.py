"""A blocked event loop is noticed while it is blocked, and told once."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.metrics import Metrics
from opsagent_worker.probes import Health
from opsagent_worker.watchdog import LoopWatchdog

BLOCKED = "the event loop is blocked"
TICK = 0.01


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines
    structlog.reset_defaults()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def health() -> Health:
    return Health(claim_limit=1000)


@asynccontextmanager
async def watched(health: Health, metrics: Metrics, *, blocked: float) -> AsyncIterator[None]:
    watchdog = LoopWatchdog(health=health, metrics=metrics, tick=TICK, blocked=blocked)
    running = asyncio.create_task(watchdog.run())
    await asyncio.sleep(0)  # it starts before the test's own steps
    yield
    await cancel_until_done([running])


def block_until(told: list[Any]) -> None:
    """Holds the event loop until the watchdog has said so."""
    deadline = time.monotonic() + 30
    while not any(line["event"] == BLOCKED for line in told):
        assert time.monotonic() < deadline, "the watchdog said nothing"
        time.sleep(TICK)


def block_for(seconds: float, *, unless: Callable[[], object] = lambda: False) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not unless():
        time.sleep(TICK)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(TICK)


def turns(metrics: Metrics) -> float:
    """How many of the loop were observed."""
    return metrics.registry.get_sample_value("opsagent_worker_event_loop_lag_seconds_count") or 0


async def next_turn(metrics: Metrics) -> None:
    seen = turns(metrics)
    await until(lambda: turns(metrics) > seen)


async def test_what_blocks_the_loop_is_shown_while_it_does(
    lines: list[Any], health: Health, metrics: Metrics
) -> None:
    def told() -> list[Any]:
        return [line for line in lines if line.get("blocked_by") == "t-42"]

    async def innocent_looking_handler() -> None:
        password = "hunter2"
        while not told():
            # A pause of the interpreter, as to collect garbage, may be what is told of this turn: then the next one.
            await next_turn(metrics)
            block_for(1, unless=told)
        del password

    async with watched(health, metrics, blocked=0.05):
        await asyncio.wait_for(asyncio.create_task(innocent_looking_handler(), name="t-42"), 30)

    (line,) = told()
    assert line["event"] == BLOCKED
    assert line["log_level"] == "warning"
    assert "innocent_looking_handler" in line["stack"]
    assert "block_for(1, unless=told)" in line["stack"]


async def test_one_block_is_told_once_and_its_length_at_the_end(
    lines: list[Any], health: Health, metrics: Metrics
) -> None:
    async with watched(health, metrics, blocked=0.05):
        block_until(lines)
        block_for(10 * TICK)
        await until(lambda: len(lines) >= 2)

    assert [line["event"] for line in lines[:2]] == [BLOCKED, "the event loop was blocked"]
    assert lines[1]["seconds"] > 0.05
    assert "threads" in lines[1]["advice"]


async def test_a_loop_that_turns_is_observed_and_left_in_peace(
    lines: list[Any], health: Health, metrics: Metrics
) -> None:
    async with watched(health, metrics, blocked=30):
        await until(lambda: turns(metrics) >= 3)

    assert lines == []
    assert health.failures() == []


async def test_its_thread_ends_with_it(health: Health, metrics: Metrics) -> None:
    earlier = set(threading.enumerate())
    async with watched(health, metrics, blocked=30):
        (thread,) = (one for one in {*threading.enumerate()} - earlier if one.name == "watchdog")

    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()
