"""Visits: what they leave out for an object at rest, and in which order they act and tell."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.world import UNREACHABLE, make_queue
from opsagent_operator.kube.client import WORKERS
from opsagent_operator.kube.errors import Unavailable
from opsagent_operator.model.observed import Observed, QueueState, Unreachable, Worker
from opsagent_operator.model.plan import Event, Outcome, Plan
from opsagent_operator.observe import convert
from opsagent_operator.observe.cluster import ClusterCache, Key
from opsagent_operator.runtime.reconciler import Reconciler
from opsagent_operator.runtime.resting import Rest, Resting

Run = Callable[[Any], Any]
KEY = Key("shop", "ops-agent")
REST = timedelta(seconds=30)


def worker(version: int, *, name: str = KEY.name) -> dict[str, Any]:
    redis = {"urlFrom": {"secretKeyRef": {"name": "redis", "key": "REDIS_URL"}}}
    return {
        "metadata": {
            "namespace": KEY.namespace,
            "name": name,
            "uid": "7d2f",
            "generation": 1,
            "resourceVersion": str(version),
        },
        "spec": {
            "version": "v1",
            "image": {"repository": "example.com/worker"},
            "queue": {"redis": redis},
        },
    }


class Bench:
    """A reconciler whose queue, decisions and deeds are the test's."""

    def __init__(self) -> None:
        self.cache = ClusterCache()
        self.cache.observe(WORKERS, worker(1), listed=True)
        self.queue: QueueState | Unreachable = make_queue()
        self.plan = Plan(at_rest=True, requeue_after=REST)
        self.behind = False
        self.decided: list[Observed] = []
        self.deeds: list[str] = []
        self.told: list[Event] = []
        self.looks = 0
        self.while_looking: Callable[[], object] = lambda: None
        self.while_telling: Callable[[], object] = lambda: None
        nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
        executor: Any = SimpleNamespace(
            change=self._change, report=self._report, behind=lambda _: self.behind, forget=nothing
        )
        queues: Any = SimpleNamespace(observe=self._observe, forget=nothing)
        metrics: Any = SimpleNamespace(
            queue_was_read=nothing, decided=nothing, scaled_up=nothing, forget=nothing
        )
        self.woken: list[Key] = []
        self.resting = Resting(
            cache=self.cache,
            queues=queues,
            wake=self.woken.append,
            looked=nothing,
            rng=random.Random(1),  # noqa: S311 - spreads looks, hides nothing
        )
        self.reconciler = Reconciler(
            cache=self.cache,
            queues=queues,
            executor=executor,
            metrics=metrics,
            resting=self.resting,
            decide=self._decide,
        )

    async def visit(self) -> bool:
        """Whether anything was decided."""
        before = len(self.decided)
        pause = await self.reconciler.reconcile(KEY)
        assert pause == (None if KEY in self.resting or not self.cache.worker(KEY) else REST)
        return len(self.decided) > before

    async def wait(self, seconds: float) -> None:
        """Time in which whoever rests is looked after."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.resting.run()

    async def _observe(self, *_: Any, **__: Any) -> QueueState | Unreachable:
        self.looks += 1
        self.while_looking()
        return self.queue

    def _decide(self, observed: Observed, now: datetime) -> Plan:
        assert now <= datetime.now(UTC)
        self.decided.append(observed)
        outcome = self.plan.outcome
        asked = observed.memory.asked if outcome is None else outcome.desired
        return replace(self.plan, memory=replace(observed.memory, asked=asked))

    async def _change(self, worker: Worker, _: Plan) -> Any:
        self.deeds.append(f"change {worker.name}")
        return SimpleNamespace(corrections=(), rejection=None, gate_failure=None)

    async def _report(self, worker: Worker, plan: Plan, _: Any) -> None:
        self.while_telling()
        self.deeds.append(f"report {worker.name}")
        self.told.extend(plan.events)


async def at_rest() -> Bench:
    """A bench whose object was visited once and rests."""
    bench = Bench()
    assert await bench.visit()
    return bench


def test_at_rest_only_the_queue_is_looked_at(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        for looks in range(2, 5):
            assert not await bench.visit()
            assert bench.looks == looks

    run(work())


def test_what_is_not_at_rest_is_decided_each_time(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.plan = replace(bench.plan, at_rest=False)
        assert await bench.visit()
        assert await bench.visit()

    run(work())


def test_a_change_in_the_queue_ends_the_rest_and_so_does_its_absence(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        for queue in (
            make_queue(pending=1),
            Unreachable(reason="TimedOut", message="no answer"),
            make_queue(run_id="another"),
        ):
            bench.queue = queue
            assert await bench.visit()
            assert bench.decided[-1].queue == queue
            assert not await bench.visit()

    run(work())


def test_a_change_in_the_cluster_ends_the_rest(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        bench.cache.observe(WORKERS, worker(2), listed=False)
        assert await bench.visit()
        assert not await bench.visit()

    run(work())


def test_a_change_in_the_cluster_while_the_queue_is_looked_at_ends_the_rest(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        bench.while_looking = lambda: bench.cache.observe(WORKERS, worker(2), listed=False)
        assert await bench.visit()

    run(work())


def test_an_announced_task_is_always_looked_after(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        bench.reconciler.announce(KEY, 1.0)
        assert await bench.visit()
        assert not await bench.visit()

    run(work())


def test_there_is_no_rest_while_a_correction_has_to_wait(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.behind = True
        assert await bench.visit()
        assert await bench.visit()
        bench.behind = False
        assert await bench.visit()
        assert not await bench.visit()

    run(work())


def test_an_object_at_rest_is_looked_at_about_as_often_as_it_was_asked_for(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        await bench.wait(10 * REST.total_seconds())
        assert 9 <= bench.looks - 1 <= 11
        assert bench.woken == []

    run(work())


@pytest.mark.parametrize("queue", [make_queue(pending=1), UNREACHABLE])
def test_a_task_that_was_not_heard_of_is_found_by_a_look(
    run: Run, queue: QueueState | Unreachable
) -> None:
    async def work() -> None:
        bench = await at_rest()
        bench.queue = queue
        await bench.wait(1.2 * REST.total_seconds())
        assert bench.woken == [KEY]
        assert KEY not in bench.resting
        assert await bench.visit()

    run(work())


def test_a_look_that_fails_leads_to_a_visit(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()

        def fail() -> None:
            raise Unavailable("no Secrets today")

        bench.while_looking = fail
        await bench.wait(1.2 * REST.total_seconds())
        assert bench.woken == [KEY]

    run(work())


def test_who_was_visited_meanwhile_is_not_woken_by_an_old_look(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        bench.plan = replace(bench.plan, at_rest=False)
        bench.cache.observe(WORKERS, worker(2), listed=False)
        assert await bench.visit()
        await bench.wait(2 * REST.total_seconds())
        assert bench.woken == []

    run(work())


def test_who_goes_while_it_is_looked_at_is_visited_so_that_its_queue_is_forgotten(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        # As the visit does that finds it gone.
        bench.while_looking = lambda: bench.resting.rouse(KEY)
        await bench.wait(1.2 * REST.total_seconds())
        assert bench.woken == [KEY]

    run(work())


def test_one_whose_redis_does_not_answer_keeps_no_other_from_being_looked_at(run: Run) -> None:
    async def work() -> None:
        looked: list[str] = []

        async def observe(worker: Worker, **_: Any) -> QueueState:
            looked.append(worker.name)
            if worker.name == "silent":
                await asyncio.sleep(600)
            return make_queue()

        bench = Bench()
        queues: Any = SimpleNamespace(observe=observe)
        bench.resting = Resting(
            cache=bench.cache,
            queues=queues,
            wake=bench.woken.append,
            looked=lambda _: None,
            rng=random.Random(1),  # noqa: S311 - spreads looks, hides nothing
        )
        for name in ("silent", "well"):
            shown = convert.worker(worker(1, name=name))
            rest = Rest(shown, timedelta(), (), 0, make_queue(), timedelta(seconds=5))
            bench.resting.lay(Key(KEY.namespace, name), rest)
        await bench.wait(60)
        assert looked.count("silent") == 1
        assert looked.count("well") >= 10

    run(work())


def test_thousands_are_looked_at_together_and_spread_over_time(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        rest = Rest(convert.worker(worker(1)), timedelta(), (), 0, make_queue(), REST)
        at = Counter[float]()
        bench.while_looking = lambda: at.update([asyncio.get_running_loop().time()])
        for number in range(1000):
            bench.resting.lay(Key("shop", f"{number}"), rest)
        await bench.wait(1.2 * REST.total_seconds())
        assert at.total() >= 1000
        assert 5 <= len(at) <= 8  # seconds between 27 and 33
        assert max(at.values()) < 400

    run(work())


def test_an_object_that_is_gone_rests_no_more(run: Run) -> None:
    async def work() -> None:
        bench = await at_rest()
        bench.cache.record_absence(WORKERS, KEY)
        assert not await bench.visit()
        bench.cache.observe(WORKERS, worker(3), listed=False)
        assert await bench.visit()

    run(work())


def outcome(current: int, desired: int) -> Outcome:
    return Outcome(
        action="ScaleUp" if desired > current else "Steady",
        reason="QueueDepth",
        wanted=desired,
        current=current,
        desired=desired,
        ready=0,
        busy=0,
        draining=0,
    )


SCALED = Event(type="Normal", reason="ScaledUp", message="1 replica")


def test_objects_that_are_woken_together_are_all_scaled_before_that_is_told(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        keys = [Key(KEY.namespace, name) for name in ("a", "b", "c")]
        for number, key in enumerate(keys):
            bench.cache.observe(WORKERS, worker(10 + number, name=key.name), listed=True)
            bench.reconciler.announce(key, 1.0)
        bench.plan = Plan(outcome=outcome(0, 1), events=(SCALED,), requeue_after=REST)
        pauses = [await bench.reconciler.reconcile(key) for key in keys]
        assert bench.deeds == ["change a", "change b", "change c", "report c"]
        assert pauses == [timedelta(), timedelta(), REST]

        bench.plan = Plan(outcome=outcome(1, 1), requeue_after=REST)
        assert [await bench.reconciler.reconcile(key) for key in keys[:2]] == [timedelta()] * 2
        assert bench.deeds[4:] == ["report a", "report b"]
        assert bench.told == [SCALED] * 3

    run(work())


def test_what_was_done_is_told_at_once_when_nobody_else_waits(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.plan = Plan(outcome=outcome(0, 1), events=(SCALED,), requeue_after=REST)
        bench.reconciler.announce(KEY, 1.0)
        await bench.reconciler.reconcile(KEY)
        assert bench.deeds == ["change ops-agent", "report ops-agent"]

    run(work())


def test_a_task_that_is_announced_before_the_last_one_was_told_of_is_not_forgotten(
    run: Run,
) -> None:
    async def work() -> None:
        bench = Bench()
        bench.plan = Plan(outcome=outcome(0, 1), events=(SCALED,), requeue_after=REST)
        bench.reconciler.announce(KEY, 1.0)
        bench.reconciler.announce(Key("shop", "other"), 1.0)
        await bench.reconciler.reconcile(KEY)
        bench.reconciler.announce(KEY, 2.0)
        assert await bench.reconciler.reconcile(KEY) == timedelta()
        await bench.reconciler.reconcile(KEY)
        assert bench.decided[-1].woken_by is not None
        assert bench.deeds == ["change ops-agent", "report ops-agent", "change ops-agent"]

    run(work())


def test_what_could_not_be_told_is_decided_again(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.plan = Plan(outcome=outcome(0, 1), events=(SCALED,), requeue_after=REST)
        bench.reconciler.announce(KEY, 1.0)
        bench.reconciler.announce(Key("shop", "other"), 1.0)
        await bench.reconciler.reconcile(KEY)

        def fail() -> None:
            raise Unavailable("too many requests")

        bench.while_telling = fail
        with pytest.raises(Unavailable):
            await bench.reconciler.reconcile(KEY)
        bench.while_telling = lambda: None
        await bench.reconciler.reconcile(KEY)
        assert [observed.memory.asked for observed in bench.decided] == [None, None]

    run(work())


def test_an_object_that_took_the_name_of_another_is_decided_without_its_past(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.plan = Plan(outcome=outcome(0, 6), requeue_after=REST)
        await bench.visit()
        other = worker(2)
        other["metadata"]["uid"] = "8e3a"
        bench.cache.observe(WORKERS, other, listed=False)
        await bench.visit()
        await bench.visit()
        assert [observed.memory.asked for observed in bench.decided] == [None, None, 6]

    run(work())
