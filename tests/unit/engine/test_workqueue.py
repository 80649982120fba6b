"""The work queue: client-go's promises, in time that the test controls."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from opsagent_operator.runtime.metrics import QueueMetrics
from opsagent_operator.runtime.workqueue import Backoff, WorkQueue
from unit.engine.conftest import JumpingLoop

Run = Callable[[Any], Any]
DICE = random.Random(1)  # noqa: S311 - spreads delays, hides nothing


class Setup:
    """A queue with metrics of its own; make it inside a running loop."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queue: WorkQueue[str] = WorkQueue(
            backoff=Backoff(base=1, limit=60, rng=DICE),
            metrics=QueueMetrics(self.registry, "test"),
        )

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name, {"name": "test"})


def now() -> float:
    return asyncio.get_running_loop().time()


async def next_key(queue: WorkQueue[str]) -> str | None:
    """The next key, at once done."""
    key = await queue.get()
    if key is not None:
        queue.done(key)
    return key


def test_a_key_that_is_added_twice_is_there_once(run: Run) -> None:
    async def work() -> None:
        setup = Setup()
        setup.queue.add("a")
        setup.queue.add("a")
        setup.queue.add("b")
        assert [await next_key(setup.queue), await next_key(setup.queue)] == ["a", "b"]
        assert len(setup.queue) == 0
        assert setup.metric("workqueue_adds_total") == 2

    run(work())


def test_a_key_that_is_touched_while_it_is_worked_on_comes_back_when_that_is_done(
    run: Run,
) -> None:
    async def work() -> None:
        queue = Setup().queue
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert len(queue) == 1
        assert await next_key(queue) == "a"
        assert len(queue) == 0

    run(work())


def test_a_delayed_key_comes_back_when_its_delay_is_over(run: Run) -> None:
    async def work() -> None:
        queue, start = Setup().queue, now()
        queue.add_after("late", 50)
        queue.add_after("early", 7)
        queue.add_after("now", 0)
        found = [(await next_key(queue), now() - start) for _ in range(3)]
        assert found == [
            ("now", 0),
            ("early", pytest.approx(7)),
            ("late", pytest.approx(50)),
        ]

    run(work())


@pytest.mark.parametrize("delays", [(5, 30), (30, 5)])
def test_of_two_delays_the_earlier_counts(run: Run, delays: tuple[float, float]) -> None:
    async def work() -> None:
        queue, start = Setup().queue, now()
        for delay in delays:
            queue.add_after("a", delay)
        queue.add_after("end", 100)
        assert await next_key(queue) == "a"
        assert now() - start == pytest.approx(5)
        assert await next_key(queue) == "end"
        assert now() - start == pytest.approx(100)

    run(work())


def test_a_delay_can_be_forgotten(run: Run) -> None:
    async def work() -> None:
        queue = Setup().queue
        queue.add_after("gone", 5)
        queue.add_after("end", 100)
        queue.discard_delay("gone")
        assert await next_key(queue) == "end"

    run(work())


def test_failures_wait_ever_longer_and_success_begins_anew(run: Run) -> None:
    async def work() -> None:
        setup = Setup()
        delays = [setup.queue.retry("a") for _ in range(10)]
        for failures, delay in enumerate(delays, start=1):
            full = min(60, 2 ** (failures - 1))
            assert full / 2 <= delay <= full
        setup.queue.forget("a")
        assert setup.queue.retry("a") <= 1
        assert setup.metric("workqueue_retries_total") == 11

    run(work())


@given(failures=st.integers(1, 10_000), base=st.floats(0.001, 10), limit=st.floats(10, 1000))
def test_a_delay_is_never_more_than_the_limit_nor_less_than_half_of_the_base(
    failures: int, base: float, limit: float
) -> None:
    delay = Backoff(base=base, limit=limit, rng=DICE).delay(failures)
    assert base / 2 <= delay <= limit


def test_after_the_end_what_is_ready_is_still_handed_out_and_nothing_is_added(run: Run) -> None:
    async def work() -> None:
        queue = Setup().queue
        queue.add("a")
        queue.add_after("delayed", 5)
        queue.shut_down()
        queue.add("b")
        queue.add_after("c", 1)
        assert await next_key(queue) == "a"
        assert [await next_key(queue) for _ in range(3)] == [None, None, None]

    run(work())


def test_every_waiting_worker_learns_of_the_end(run: Run) -> None:
    async def work() -> None:
        queue = Setup().queue
        waiting = [asyncio.create_task(queue.get()) for _ in range(5)]
        await asyncio.sleep(0)
        queue.shut_down()
        assert await asyncio.gather(*waiting) == [None] * 5

    run(work())


def test_a_worker_that_gives_up_waiting_takes_no_key_with_it(run: Run) -> None:
    async def work() -> None:
        queue = Setup().queue
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        waiting.cancel()
        queue.add("a")
        assert await queue.get() == "a"

    run(work())


def test_metrics_tell_how_long_keys_wait_and_work_takes(run: Run) -> None:
    async def work() -> None:
        setup = Setup()
        setup.queue.add("a")
        await asyncio.sleep(3)
        assert setup.metric("workqueue_depth") == 1
        key = await setup.queue.get()
        await asyncio.sleep(4)
        assert setup.metric("workqueue_depth") == 0
        assert setup.metric("workqueue_unfinished_work_seconds") == pytest.approx(4)
        assert setup.metric("workqueue_longest_running_processor_seconds") == pytest.approx(4)
        assert key is not None
        setup.queue.done(key)
        assert setup.metric("workqueue_queue_duration_seconds_sum") == pytest.approx(3)
        assert setup.metric("workqueue_work_duration_seconds_sum") == pytest.approx(4)
        assert setup.metric("workqueue_unfinished_work_seconds") == 0
        assert setup.metric("workqueue_longest_running_processor_seconds") == 0

    run(work())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add_after", "retry", "sleep"]),
        st.sampled_from("abc"),
        st.floats(0, 20),
    ),
    max_size=60,
)


@given(steps=STEPS, rng=st.randoms(use_true_random=False))
def test_no_touch_is_lost_and_no_key_is_worked_on_twice_at_once(
    steps: list[tuple[str, str, float]], rng: random.Random
) -> None:
    """Whatever is done while three workers drain the queue, each key is begun after its last touch."""

    async def work() -> None:
        queue = Setup().queue
        running: Counter[str] = Counter()
        touched: dict[str, float] = {}
        begun: dict[str, float] = {}

        async def worker() -> None:
            while (key := await queue.get()) is not None:
                running[key] += 1
                assert running[key] == 1
                begun[key] = now()
                await asyncio.sleep(rng.uniform(0, 5))
                running[key] -= 1
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(worker())
            for step, key, number in steps:
                match step:
                    case "add":
                        queue.add(key)
                        touched[key] = now()
                    case "add_after":
                        queue.add_after(key, number)
                        touched[key] = now()
                    case "retry":
                        queue.retry(key)
                        touched[key] = now()
                    case _:
                        await asyncio.sleep(number)
            await asyncio.sleep(1000)
            queue.shut_down()
        for key, at in touched.items():
            assert begun[key] >= at

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work())
