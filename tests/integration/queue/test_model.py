"""Random histories of several workers on a real Redis, held against a small model.

The model knows for each task where it must be. After every step the keys in Redis must say the
same: each id in exactly one place, never two leases, no id gone without an end in its record.

What is drawn never depends on what is there: how soon the index is looked after is up to Redis' clock,
and the same choices must mean the same to hypothesis. Hence numbers that pick, and no bundles.
"""

from dataclasses import dataclass, field
from typing import Literal

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fixtures.queue_bench import LONG_MS
from fixtures.queue_machine import QueueMachine
from opsagent_queue import Lease, Task

pytestmark = pytest.mark.integration

Place = Literal["waiting", "leased", "delayed", "dead", "orphaned", "ended", "taken"]
WORKERS = st.sampled_from(["pod-1", "pod-2", "pod-3"])
PICKS = st.integers(0, 99)


@dataclass
class Model:
    """What is known about one task."""

    task: Task
    age: int
    place: Place = "waiting"
    lease: Lease | None = None
    expired: bool = False
    due: bool = False
    attempt: int = 1
    crashes: int = 0
    cancelled: bool = False
    wiped: bool = False
    settled: set[tuple[int, str]] = field(default_factory=set)

    @property
    def foreign(self) -> bool:
        return self.task.assigned_to == "dev"

    @property
    def ready(self) -> bool:
        return not (self.foreign or self.cancelled or self.wiped)

    @property
    def order(self) -> tuple[str, int]:
        return self.task.priority, self.age

    def put_back(self, place: Place) -> None:
        self.lease, self.expired = None, False
        if self.wiped:
            self.place = "orphaned"
        elif self.cancelled:
            self.place = "ended"
        else:
            self.place = place


class HistoryMachine(QueueMachine):
    @initialize()
    def start(self) -> None:
        self.open()
        self.models: dict[str, Model] = {}
        self.paused = False
        self.leases: list[Lease] = []
        self.data: dict[Lease, str] = {}
        self.exact = True
        self.fence = 0
        self.handed_out = 0
        self.claimed = 0
        self.expected = {"late_finishes": 0, "rescued": 0, "poisoned": 0}

    def check_at_the_end(self) -> None:
        self.nothing_is_hidden_for_ever()

    def nothing_is_hidden_for_ever(self) -> None:
        """However the index was mistreated: a few claims hand out all that can run."""
        self.run(self.queue.set_paused(False))
        for _ in range(4):
            self.run(self.bench.claim(100))
        left = {m.task.task_id for m in self.models.values() if m.place == "waiting" and m.ready}
        assert not left & set(self.run(self.bench.waiting()))

    def some(self, pick: int, *places: Place) -> Model | None:
        return self.picked([m for m in self.models.values() if m.place in places], pick)

    def holds(self, lease: Lease) -> Model | None:
        model = self.models[lease.task_id]
        return model if model.lease == lease else None

    # What workers do.

    @rule(
        priority=st.sampled_from(["P0", "P1", "P2"]),
        agent=st.sampled_from(["ops", "dev"]),
        kind=st.sampled_from(["monitor", "deploy"]),
        announced=st.booleans(),
    )
    def enqueue(self, priority: str, agent: str, kind: str, announced: bool) -> None:
        """By ourselves, or by the orchestrator, of whose tasks the index knows nothing."""
        age = len(self.models)
        task = msgspec.structs.replace(
            self.bench.task(priority=priority, assigned_to=agent, type=kind),
            # In no order of age, but the same in each run: equal scores are sorted by id.
            task_id=f"task-{age * 7919 % 10007:05d}",
            created_at=self.bench.iso(1_700_000_000 + age),
        )
        self.models[task.task_id] = Model(task, age)
        self.run(self.bench.enqueue(task) if announced else self.bench.produce(task))

    @rule(
        owner=WORKERS,
        count=st.integers(1, 6),
        again=st.booleans(),
        hints=st.integers(0, 3),
        without=st.sampled_from([[], [], ["deploy"], ["monitor", "alert"]]),
    )
    def claim(self, owner: str, count: int, again: bool, hints: int, without: list[str]) -> None:
        self.claimed += 1
        token = f"claim-{self.claimed}"
        heard = list(self.models)[-hints:] if hints else []
        result = self.run(
            self.bench.claim(count, owner=owner, token=token, hints=heard, without=without)
        )
        assert result.paused is self.paused
        got = [claim.lease for claim in result.claims]
        if self.paused:
            assert got == []
            return
        for model in self.models.values():
            if model.place == "delayed" and model.due:
                model.place = "waiting"
        waiting = [m for m in self.models.values() if m.place == "waiting"]
        ready = [m for m in waiting if m.ready and m.task.type not in without]
        self.check_choice([lease.task_id for lease in got], ready, count, more=result.more)
        self.handed_out += len(got)
        self.data |= {claim.lease: claim.data for claim in result.claims}
        for lease in got:
            model = self.models[lease.task_id]
            assert (lease.owner, lease.attempt, lease.crashes) == (
                owner,
                model.attempt,
                model.crashes,
            )
            assert lease.fence > self.fence
            self.fence = lease.fence
            model.place, model.lease = "leased", lease
        self.notice_set_aside()
        self.leases += got
        if again and got:
            repeated = self.run(self.bench.claim(count, owner=owner, token=token))
            assert [claim.lease for claim in repeated.claims] == got

    def check_choice(self, got: list[str], ready: list[Model], count: int, *, more: bool) -> None:
        """By priority and age, but of every 16 the oldest; short only if nothing else is ready."""
        assert len(got) == len(set(got)) <= count
        assert set(got) <= {m.task.task_id for m in ready}
        if len(got) < count and not more:
            assert len(got) == len(ready)
            self.exact = True
        if not self.exact:
            return
        aged = (self.handed_out + count) // 16 - self.handed_out // 16
        by_order = sorted(ready, key=lambda m: m.order)
        chosen, rest = by_order[: count - aged], by_order[count - aged :]
        chosen += sorted(rest, key=lambda m: m.age)[:aged]
        assert got == [m.task.task_id for m in chosen]

    def notice_set_aside(self) -> None:
        """What cannot run is set aside when it is looked at: Redis tells which that was."""
        left = set(self.run(self.bench.waiting()))
        for model in self.models.values():
            if model.task.task_id not in left and model.place == "waiting":
                assert model.wiped or (model.cancelled and not model.foreign)
                model.place = "orphaned" if model.wiped else "ended"

    @rule()
    def index(self) -> None:
        self.run(self.queue.index())
        self.notice_set_aside()

    @rule(pick=PICKS)
    def renew(self, pick: int) -> None:
        lease = self.picked(self.leases, pick)
        if lease is None:
            return
        lost = self.run(self.bench.renew(lease))
        model = self.holds(lease)
        assert lost == (frozenset() if model else {lease.task_id})
        if model:
            model.expired = False

    @rule(
        pick=PICKS,
        status=st.sampled_from(["completed", "failed", "cancelled"]),
        short=st.booleans(),
    )
    def finish(self, pick: int, status: str, short: bool) -> None:
        """By the short cut or the careful way, as far as the status lets one choose."""
        lease = self.picked(self.leases, pick)
        if lease is None:
            return
        data = self.data[lease] if short else None
        done = self.run(self.bench.finish(lease, status=status, error="e", data=data))
        model = self.holds(lease)
        if model is None:
            repeated = (lease.fence, "finish") in self.models[lease.task_id].settled
            assert done is repeated
            self.expected["late_finishes"] += not repeated
            return
        assert done is True
        model.put_back("ended")
        if status == "failed" and not (model.cancelled and not model.wiped):
            model.place = "dead"
        else:
            model.place = "ended"
        model.settled.add((lease.fence, "finish"))

    @rule(pick=PICKS, due=st.booleans())
    def retry(self, pick: int, due: bool) -> None:
        lease = self.picked(self.leases, pick)
        if lease is None:
            return
        done = self.run(self.bench.retry(lease, delay_ms=0 if due else LONG_MS, error="e"))
        model = self.holds(lease)
        if model is None:
            assert done is ((lease.fence, "retry") in self.models[lease.task_id].settled)
            return
        assert done is True
        model.put_back("delayed")
        model.due = due
        if model.place != "ended":
            model.attempt += 1
        model.settled.add((lease.fence, "retry"))

    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        lease = self.picked(self.leases, pick)
        if lease is None:
            return
        released = self.run(self.queue.release([lease]))
        model = self.holds(lease)
        if model is None:
            repeated = (lease.fence, "release") in self.models[lease.task_id].settled
            assert released == int(repeated)
            return
        assert released == 1
        model.put_back("waiting")
        model.settled.add((lease.fence, "release"))

    @rule()
    def reap(self) -> None:
        reaped = self.run(self.queue.reap())
        requeued = dead = promoted = 0
        for model in self.models.values():
            if model.place == "delayed" and model.due:
                model.place = "waiting"
                promoted += 1
            elif model.place == "orphaned" and not model.wiped:
                model.place = "waiting"
            elif model.place == "leased" and model.expired:
                model.crashes += 1
                if model.crashes >= 3 and not model.wiped and not model.cancelled:
                    model.put_back("dead")
                    dead += 1
                else:
                    requeued += not model.wiped and not model.cancelled
                    model.put_back("waiting")
        assert (reaped.requeued, reaped.dead, reaped.promoted) == (requeued, dead, promoted)
        self.expected["rescued"] += requeued
        self.expected["poisoned"] += dead
        self.notice_set_aside()

    @rule(pick=PICKS)
    def replay(self, pick: int) -> None:
        if model := self.some(pick, "dead"):
            id_ = model.task.task_id
            replayed = self.run(self.queue.replay([id_])).replayed
            assert replayed == (frozenset() if model.wiped else {id_})
            if not model.wiped:
                model.place, model.attempt, model.crashes = "waiting", 1, 0

    # What the world does to them.

    @rule(pick=PICKS)
    def expire(self, pick: int) -> None:
        lease = self.picked(self.leases, pick)
        if lease and (model := self.holds(lease)):
            self.run(self.bench.expire(lease))
            model.expired = True

    @rule(paused=st.booleans())
    def gate(self, paused: bool) -> None:
        self.run(self.queue.set_paused(paused))
        self.paused = paused

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        model = self.some(pick, "waiting", "leased", "delayed")
        if model and not model.wiped:
            key = self.keys.record(model.task.task_id)
            self.run(self.bench.client.hset(key, "status", "cancelled"))
            model.cancelled = True

    @rule(pick=PICKS)
    def cancel_by_script(self, pick: int) -> None:
        model = self.some(pick, "waiting", "leased", "delayed", "orphaned", "dead")
        if not model:
            return
        outcome = self.run(self.queue.cancel(model.task.task_id))
        if model.wiped or model.foreign:
            assert outcome == "unknown"
        elif model.place == "leased":
            assert outcome == "cancelling"
            model.cancelled = True
        elif model.place == "dead" or model.cancelled:
            assert outcome == "ended"
        else:
            assert outcome == "cancelled"
            model.cancelled, model.place = True, "ended"

    @rule()
    def legacy_consumer(self) -> None:
        popped = self.run(self.bench.client.zpopmin(self.keys.tasks))
        if popped:
            self.models[str(popped[0][0])].place = "taken"
            self.exact = False

    @rule(
        names=st.sets(
            st.sampled_from(["index", "types", "foreign", "held", "ready:monitor", "ready:deploy"]),
            min_size=1,
        )
    )
    def lose_the_index(self, names: set[str]) -> None:
        for name in names:
            self.run(self.bench.client.delete(self.keys.own(name)))
            self.handed_out *= name != "index"

    @rule(pick=PICKS)
    def queue_again_while_it_runs(self, pick: int) -> None:
        """Somebody adds an id that is under a lease; it takes itself back before the lease ends."""
        lease = self.picked(self.leases, pick)
        if lease and (model := self.holds(lease)):
            self.run(self.bench.client.zadd(self.keys.tasks, {lease.task_id: 1.0}))
            claimed = self.run(self.bench.claim(1, owner="pod-9", without=["monitor", "deploy"]))
            assert claimed.claims == ()
            self.run(self.bench.client.zrem(self.keys.tasks, lease.task_id))
            for other in self.models.values():
                if not self.paused and other.place == "delayed" and other.due:
                    other.place = "waiting"
            self.notice_set_aside()
            assert model.place == "leased"

    @rule(pick=PICKS)
    def wipe_record(self, pick: int) -> None:
        if model := self.some(pick, "waiting", "leased"):
            self.run(self.bench.client.delete(self.keys.record(model.task.task_id)))
            model.wiped, model.cancelled = True, False

    @rule(pick=PICKS)
    def restore_record(self, pick: int) -> None:
        model = self.some(pick, "waiting", "leased", "orphaned")
        if model and model.wiped:
            key = self.keys.record(model.task.task_id)
            self.run(self.bench.client.hset(key, "data", model.task.encode()))
            model.wiped = False

    @rule(pick=PICKS)
    def rewrite_record(self, pick: int) -> None:
        """The orchestrator writes back a copy it read long ago."""
        model = self.some(pick, "waiting", "leased", "delayed")
        if model and not model.wiped and not model.cancelled:
            key = self.keys.record(model.task.task_id)
            self.run(self.bench.client.hset(key, "data", model.task.encode()))

    # What must hold after every step.

    @invariant()
    def redis_agrees_with_the_model(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        client, keys = self.bench.client, self.keys
        async with client.pipeline() as pipe:
            await pipe.zrange(keys.tasks, 0, -1)
            for name in ("leases", "delayed", "dead", "orphaned"):
                await pipe.zrange(keys.own(name), 0, -1)
            await pipe.hkeys(keys.own("claims"))
            await pipe.smembers(keys.processing)
            replies = await pipe.execute()
        places: list[Place] = ["waiting", "leased", "delayed", "dead", "orphaned"]
        for place, ids in zip(places, replies, strict=False):
            assert len(ids) == len(set(ids))
            assert set(ids) == {id_ for id_, m in self.models.items() if m.place == place}, place
        held = {id_ for id_, m in self.models.items() if m.place == "leased"}
        assert set(replies[5]) == set(replies[6]) == held
        for id_, model in self.models.items():
            if model.place == "ended" and not model.wiped:
                assert await self.bench.field(id_, "status") in {"completed", "cancelled"}
        counters = await self.queue.counters()
        assert {name: counters.get(name, 0) for name in self.expected} == self.expected
        snapshot = await self.queue.snapshot()
        pending = [
            m
            for m in self.models.values()
            if (m.place == "waiting" and m.ready) or (m.place == "delayed" and m.due)
        ]
        assert (snapshot.pending, snapshot.in_flight) == (len(pending), len(held))


def test_no_history_of_claims_crashes_and_outside_changes_loses_or_doubles_a_task(
    redis_url: str,
) -> None:
    machine = type("HistoryMachineHere", (HistoryMachine,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
