"""Workers, back-off and what is counted."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from opsagent_operator.observe.cluster import Key
from opsagent_operator.runtime.controller import EAGER, Controller
from opsagent_operator.runtime.metrics import CONTROLLER, Metrics
from opsagent_operator.runtime.workqueue import Backoff, WorkQueue

Run = Callable[[Any], Any]
KEY = Key("shop", "ops-agent")
DICE = random.Random(1)  # noqa: S311 - spreads visits, hides nothing


class Bench:
    """A controller whose `reconcile` is the test's."""

    def __init__(self, reconcile: Callable[[Key], Awaitable[timedelta | None]]) -> None:
        self.metrics = Metrics()
        self.queue: WorkQueue[Key] = WorkQueue(
            backoff=Backoff(base=1, limit=60, rng=DICE), metrics=self.metrics.queue
        )
        self.controller = Controller(
            queue=self.queue,
            reconcile=reconcile,
            workers=2,
            timeout=30,
            rng=DICE,
            metrics=self.metrics,
        )

    async def work(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.controller.run())
            await asyncio.sleep(seconds)
            self.queue.shut_down()

    def count(self, result: str) -> float | None:
        labels = {"controller": CONTROLLER, "result": result}
        name = "controller_runtime_reconcile_total"
        return self.metrics.registry.get_sample_value(name, labels)


def test_an_object_is_visited_again_when_it_was_asked_for_or_a_bit_earlier(run: Run) -> None:
    async def work() -> None:
        visits: list[float] = []

        async def reconcile(_: Key) -> timedelta:
            visits.append(asyncio.get_running_loop().time())
            return timedelta(seconds=10)

        bench = Bench(reconcile)
        bench.queue.add(KEY)
        await bench.work(1000)
        pauses = [after - before for before, after in pairwise(visits)]
        assert len(pauses) >= 90
        assert all(9 <= pause <= 10 for pause in pauses)
        assert len({round(pause, 3) for pause in pauses}) > 10  # they do not come in waves
        assert bench.count("requeue_after") == len(visits)

    run(work())


def test_an_object_that_always_wants_to_be_visited_at_once_has_to_wait_in_the_end(run: Run) -> None:
    async def work() -> None:
        visits: dict[str, int] = {"eager": 0, "calm": 0}

        async def reconcile(key: Key) -> timedelta:
            visits[key.name] += 1
            return timedelta(seconds=0 if key.name == "eager" else 10)

        bench = Bench(reconcile)
        bench.queue.add(Key("shop", "eager"))
        bench.queue.add(Key("shop", "calm"))
        await bench.work(100)
        assert EAGER + 80 <= visits["eager"] <= EAGER + 120
        assert visits["calm"] >= 9

    run(work())


def test_an_object_that_rests_in_between_may_be_visited_at_once_again(run: Run) -> None:
    async def work() -> None:
        visits: list[float] = []

        async def reconcile(_: Key) -> timedelta:
            visits.append(asyncio.get_running_loop().time())
            return timedelta(seconds=10 if len(visits) % (EAGER + 1) == 0 else 0)

        bench = Bench(reconcile)
        bench.queue.add(KEY)
        await bench.work(95)
        assert len(visits) >= 9 * (EAGER + 1)

    run(work())


def test_an_object_that_is_gone_is_not_visited_again(run: Run) -> None:
    async def work() -> None:
        answers: list[timedelta | None] = [timedelta(seconds=10), None]

        async def reconcile(_: Key) -> timedelta | None:
            return answers.pop(0)

        bench = Bench(reconcile)
        bench.queue.add(KEY)
        await asyncio.sleep(0)
        await bench.work(1000)
        assert answers == []
        assert bench.count("success") == 1

    run(work())


def test_failures_are_repeated_ever_later_counted_and_harm_nobody_else(run: Run) -> None:
    async def work() -> None:
        visits: dict[str, int] = {"bad": 0, "good": 0}

        async def reconcile(key: Key) -> timedelta:
            visits[key.name] += 1
            if key.name == "bad":
                raise RuntimeError("broken")
            return timedelta(seconds=1)

        bench = Bench(reconcile)
        bench.queue.add(Key("shop", "bad"))
        bench.queue.add(Key("shop", "good"))
        await bench.work(300)
        assert 5 <= visits["bad"] <= 20
        assert visits["good"] > 200
        assert bench.count("error") == visits["bad"]
        errors = "controller_runtime_reconcile_errors_total"
        labels = {"controller": CONTROLLER}
        assert bench.metrics.registry.get_sample_value(errors, labels) == visits["bad"]

    run(work())


def test_a_visit_that_hangs_is_given_up(run: Run) -> None:
    async def work() -> None:
        async def reconcile(_: Key) -> timedelta:
            await asyncio.Event().wait()
            raise AssertionError

        bench = Bench(reconcile)
        bench.queue.add(KEY)
        await bench.work(32)
        assert bench.count("error") >= 1  # type: ignore[operator] # it exists from the start

    run(work())


@pytest.mark.parametrize("running", [1, 2, 5])
def test_at_the_end_what_runs_is_finished(run: Run, running: int) -> None:
    async def work() -> None:
        finished: list[str] = []

        async def reconcile(key: Key) -> None:
            await asyncio.sleep(5)
            finished.append(key.name)

        bench = Bench(reconcile)
        for number in range(running):
            bench.queue.add(Key("shop", str(number)))
        await bench.work(1)
        assert sorted(finished) == [str(number) for number in range(running)]

    run(work())
