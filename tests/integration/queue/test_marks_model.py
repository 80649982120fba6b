"""Random histories of drain marks on a real Redis, held against a small model.

Workers claim, lose replies and die while pods are marked, unmarked and time passes. A marked pod never
gets a new lease, a claim that is sent again brings what it took and still holds, and nothing is lost.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fixtures.queue_machine import QueueMachine
from opsagent_queue import MAX_CRASHES, ClaimResult, Lease

pytestmark = pytest.mark.integration

MARKED = st.sampled_from([["pod-1"], ["pod-1"], ["pod-1", "pod-2"], []])
PICKS = st.integers(0, 99)
ENDS = st.sampled_from(["finished", "handed back", "died"])

# By Redis' clock an example takes no time: what passes is taken off the marks.
STEP_MS = 10_000_000
BRIEF_MS, LASTING_MS = STEP_MS // 2, 100 * STEP_MS

CASES = (
    "refused while tasks wait",
    "refused or empty, and sent again",
    "marked, and told what it holds",
    "marked, and what it held ended",
    "taken after a mark went",
    "mark renewed",
    "mark expired",
)
"""What the histories are about."""


@dataclass(frozen=True)
class Sent:
    """A claim, and what it took when it came to Redis first."""

    token: str
    owner: str
    count: int
    took: tuple[Lease, ...]


class MarksMachine(QueueMachine):
    seen: ClassVar[Counter[str]]

    @initialize()
    def start(self) -> None:
        self.open()
        self.waiting: set[str] = set()
        self.held: dict[str, Lease] = {}
        self.crashes: Counter[str] = Counter()
        self.marks: dict[str, int] = {}
        self.unmarked: set[str] = set()
        self.sent: list[Sent] = []
        self.claimed = 0

    @rule(
        what=st.sampled_from(
            ["claim", "claim again", "claim again", "end", "mark", "let time pass"]
        ),
        pods=MARKED,
        number=st.integers(1, 3),
        pick=PICKS,
        how=ENDS,
        ttl_ms=st.sampled_from([BRIEF_MS, LASTING_MS]),
    )
    def step(
        self, what: str, pods: list[str], number: int, pick: int, how: str, ttl_ms: int
    ) -> None:
        """One rule for all: hypothesis leaves some of several out of a history, and these need each other."""
        match what:
            case "claim":
                self.claim("pod-2" if pick % 3 == 0 else "pod-1", number)
            case "claim again":
                self.claim_again(pick)
            case "end":
                self.end(pick, how)
            case "mark":
                self.mark(pods, ttl_ms)
            case _:
                self.time_passes()

    # What workers do.

    def claim(self, owner: str, count: int) -> None:
        """Two tasks come for it, so that some wait at times."""
        tasks = [self.bench.task() for _ in range(2)]
        self.run(self.bench.enqueue(*tasks))
        self.waiting |= {task.task_id for task in tasks}
        self.claim_first(Sent(f"claim-{self.claimed}", owner, count, ()))

    def claim_first(self, claim: Sent) -> None:
        """A claim of which Redis knows nothing: it is new, or took nothing when it was sent before."""
        self.claimed += 1
        result = self.send(claim)
        got = tuple(one.lease for one in result.claims)
        if claim.owner in self.marks:
            self.seen["refused while tasks wait"] += bool(self.waiting)
            assert got == ()
        else:
            assert len(got) == min(claim.count, len(self.waiting))
            self.seen["taken after a mark went"] += bool(got) and claim.owner in self.unmarked
        for lease in got:
            self.waiting.remove(lease.task_id)
            self.held[lease.task_id] = lease
        self.sent.append(Sent(claim.token, claim.owner, claim.count, got))

    def claim_again(self, pick: int) -> None:
        """The reply was lost."""
        claim = self.picked(self.sent, pick)
        if claim is None:
            return
        if not claim.took:
            self.sent.remove(claim)
            self.seen["refused or empty, and sent again"] += 1
            self.claim_first(claim)
            return
        still_held = [one for one in claim.took if self.held.get(one.task_id) == one]
        result = self.send(claim)
        assert [one.lease.fence for one in result.claims] == [one.fence for one in still_held]
        if claim.owner in self.marks:
            self.seen["marked, and told what it holds"] += bool(still_held)

    def send(self, claim: Sent) -> ClaimResult:
        result = self.run(
            self.bench.claim(claim.count, owner=claim.owner, token=claim.token, lease_ms=LASTING_MS)
        )
        assert result.draining is (claim.owner in self.marks)
        return result

    def end(self, pick: int, how: str) -> None:
        lease = self.picked(list(self.held.values()), pick)
        if lease is None:
            return
        id_ = lease.task_id
        del self.held[id_]
        self.seen["marked, and what it held ended"] += lease.owner in self.marks
        if how == "finished":
            assert self.run(self.bench.finish(lease)) is True
            return
        if how == "handed back":
            assert self.run(self.queue.release([lease])) == 1
        else:
            self.run(self.bench.expire(lease))
            self.run(self.queue.reap())
            self.crashes[id_] += 1
        if self.crashes[id_] < MAX_CRASHES:
            self.waiting.add(id_)

    # What happens to marks.

    def mark(self, pods: list[str], ttl_ms: int) -> None:
        self.run(self.queue.set_drain_marks(pods, ttl_ms=ttl_ms))
        self.seen["mark renewed"] += bool(self.marks.keys() & pods)
        self.unmarked = (self.unmarked | self.marks.keys()).difference(pods)
        self.marks = dict.fromkeys(pods, ttl_ms)

    def time_passes(self) -> None:
        for pod in self.marks:
            self.run(self.bench.client.zincrby(self.keys.own("drain"), -STEP_MS, pod))
        left = {pod: ms - STEP_MS for pod, ms in self.marks.items() if ms > STEP_MS}
        self.seen["mark expired"] += len(self.marks) - len(left)
        self.unmarked |= self.marks.keys() - left.keys()
        self.marks = left

    # What must hold after every step.

    @invariant()
    def redis_agrees_with_the_model(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        client, keys = self.bench.client, self.keys
        async with client.pipeline() as pipe:
            await pipe.zrange(keys.tasks, 0, -1)
            await pipe.zrange(keys.own("leases"), 0, -1)
            waiting, leased = await pipe.execute()
        assert set(waiting) == self.waiting
        assert set(leased) == self.held.keys()
        snapshot = await self.queue.snapshot()
        assert snapshot.marked == self.marks.keys()
        assert snapshot.busy == Counter(lease.owner for lease in self.held.values())
        assert snapshot.pending == len(self.waiting)


def test_no_history_of_marks_gives_a_marked_pod_a_task_or_loses_one(redis_url: str) -> None:
    seen: Counter[str] = Counter()
    machine = type("MarksMachineHere", (MarksMachine,), {"url": redis_url, "seen": seen})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    # Each was met twelve times and more in any of many runs when this was written.
    for case in CASES:
        assert seen[case], f"no history had this in it: {case}"
