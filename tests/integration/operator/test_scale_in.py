"""Which pods go when there are fewer workers: real controllers choose them, and a real Redis knows who is busy.

The pods run nothing; what their workers would tell Redis is told by the test in their name.
"""

import uuid
from collections.abc import Collection
from typing import Any

import pytest

from integration.operator.world import WORKER, World, eventually
from opsagent_queue import Heartbeat, Lease, TaskQueue

pytestmark = pytest.mark.integration

COST = "controller.kubernetes.io/pod-deletion-cost"
SPEC: dict[str, Any] = {"worker": {"drainTimeout": "1h"}}
MINUTE_MS = 60_000


class Workers:
    """The workers of an object's pods."""

    def __init__(self, world: World, count: int, **spec: Any) -> None:
        self.world = world
        self.leases: dict[str, list[Lease]] = {}
        world.create(replicas=count, **{**SPEC, **spec})
        world.until_condition("Ready", "True", "Running")
        self.names = eventually(lambda: names if len(names := self.alive()) == count else None)
        self.report()

    def alive(self) -> list[str]:
        """Names of the pods that are not on their way out; first those that have the lowest uid.

        Of pods that are equal in all else Kubernetes takes those first.
        """
        pods = [
            pod
            for pod in self.world.get("pods", "-l", f"opsagent.dev/worker={WORKER}")
            if "deletionTimestamp" not in pod["metadata"]
        ]
        return [pod["metadata"]["name"] for pod in sorted(pods, key=lambda p: p["metadata"]["uid"])]

    def report(self) -> None:
        async def beat(queue: TaskQueue) -> None:
            for name in self.names:
                await queue.heartbeat(name, Heartbeat(version="v1.0.0", slots=4))

        self.world.with_queue(beat)

    def take(self, pod: str, count: int = 1) -> int:
        """The worker in `pod` asks for tasks; returns how many it got."""

        async def claim(queue: TaskQueue) -> list[Lease]:
            result = await queue.claim(
                owner=pod,
                version="v1.0.0",
                count=count,
                lease_ms=10 * MINUTE_MS,
                token=str(uuid.uuid4()),
            )
            return [claim.lease for claim in result.claims]

        got: list[Lease] = self.world.with_queue(claim)
        self.leases.setdefault(pod, []).extend(got)
        return len(got)

    def hold(self, pods: Collection[str]) -> None:
        self.world.enqueue(len(pods))
        assert [self.take(pod) for pod in pods] == [1] * len(pods)

    def finish(self, pod: str) -> None:
        """The worker in `pod` hands back what it holds."""
        leases = self.leases.pop(pod)

        async def release(queue: TaskQueue) -> int:
            return await queue.release(leases)

        assert self.world.with_queue(release) == len(leases)

    def marked(self) -> frozenset[str]:
        async def look(queue: TaskQueue) -> frozenset[str]:
            return (await queue.snapshot()).marked

        found: frozenset[str] = self.world.with_queue(look)
        return found

    def until_alive(self, names: Collection[str]) -> None:
        def look() -> bool:
            found = self.alive()
            assert set(found) == set(names)
            return True

        eventually(look)

    def until_waiting(self, text: str) -> None:
        """Until the object says that it waits, for a reason with `text` in it."""

        def look() -> bool:
            decision = self.world.worker()["status"]["decision"]
            assert decision["reason"] == "Draining"
            assert text in decision["message"]
            return True

        eventually(look)


def test_the_idle_go_although_kubernetes_would_take_the_busy_ones(world: World) -> None:
    workers = Workers(world, 6)
    busy, idle = workers.names[:2], workers.names[2:]
    workers.hold(busy)
    with world.numbers() as numbers:
        world.run("scale", f"oaw/{WORKER}", "--replicas=2")
        workers.until_alive(busy)
    assert numbers == [6, 2], "in one write"
    eventually(lambda: not workers.marked())
    (told,) = [text for reason, text in world.events() if reason == "ScaledDown"]
    assert "was 6" in told
    assert sum(name in told for name in idle) == 3, "and one more"
    assert "ScaleInMismatch" not in {reason for reason, _ in world.events()}


def test_a_busy_worker_is_waited_for_and_gets_nothing_new(world: World) -> None:
    workers = Workers(world, 3)
    workers.hold(workers.names)
    world.run("scale", f"oaw/{WORKER}", "--replicas=2")
    (victim,) = eventually(workers.marked)
    workers.until_waiting(f"waiting for {victim} to finish 1 task")
    world.enqueue(1)
    assert workers.take(victim) == 0
    assert world.replicas() == {"v1.0.0": 3}
    workers.finish(victim)
    workers.until_alive(set(workers.names) - {victim})
    assert world.replicas() == {"v1.0.0": 2}


def test_more_work_calls_it_off_and_all_work_again(world: World) -> None:
    workers = Workers(world, 3)
    workers.hold(workers.names)
    world.run("scale", f"oaw/{WORKER}", "--replicas=1")
    marked = eventually(lambda: found if len(found := workers.marked()) == 2 else None)
    with world.numbers() as numbers:
        world.run("scale", f"oaw/{WORKER}", "--replicas=3")
        eventually(lambda: not workers.marked())
    assert numbers == [3]
    assert set(workers.alive()) == set(workers.names)
    world.enqueue(1)
    assert workers.take(min(marked)) == 1


def test_who_stays_busy_for_drain_timeout_goes_then(world: World) -> None:
    workers = Workers(world, 2, worker={"drainTimeout": "2s"})
    workers.hold(workers.names)
    world.run("scale", f"oaw/{WORKER}", "--replicas=1")
    eventually(lambda: len(workers.alive()) == 1)
    (victim,) = set(workers.names) - set(workers.alive())
    told = eventually(lambda: [text for reason, text in world.events() if reason == "ScaledDown"])
    assert f"{victim} goes: still busy after drainTimeout 2s" in told[0]


def test_an_operator_killed_in_the_middle_goes_on_with_the_same_victims(world: World) -> None:
    workers = Workers(world, 4)
    workers.hold(workers.names)
    world.run("scale", f"oaw/{WORKER}", "--replicas=2")
    marked = eventually(lambda: found if len(found := workers.marked()) == 2 else None)
    world.operator.kill()
    for victim in marked:
        workers.finish(victim)
    stay = set(workers.names) - marked
    for other in stay:
        workers.finish(other)
    world.operator.start()
    workers.until_alive(stay)
    eventually(lambda: not workers.marked())


def test_marks_that_redis_has_lost_are_written_again(world: World) -> None:
    workers = Workers(world, 2)
    workers.hold(workers.names)
    world.run("scale", f"oaw/{WORKER}", "--replicas=1")
    before = eventually(workers.marked)

    async def forget(queue: TaskQueue) -> None:
        await queue.set_drain_marks(())

    world.with_queue(forget)
    assert eventually(workers.marked) == before


def test_the_budget_is_there_with_the_workers_and_follows_the_spec(world: World) -> None:
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")

    def limit() -> Any:
        budgets = world.get("pdb")
        return budgets[0]["spec"]["maxUnavailable"] if budgets else None

    assert limit() == "25%"
    (owner,) = world.get("pdb")[0]["metadata"]["ownerReferences"]
    assert owner["uid"] == world.worker()["metadata"]["uid"]
    # Kubernetes itself counts the pods it is for.
    eventually(lambda: world.get("pdb")[0].get("status", {}).get("expectedPods") == 1)

    world.patch(disruption={"maxUnavailable": 1})
    eventually(lambda: limit() == 1)
    world.run("delete", "pdb", WORKER)
    eventually(lambda: limit() == 1)


def test_a_busy_pod_is_protected_while_that_is_asked_for(world: World) -> None:
    workers = Workers(world, 2, disruption={"protectBusy": True})
    busy, idle = workers.names
    workers.hold([busy])
    protection = {
        "karpenter.sh/do-not-disrupt": "true",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }

    def annotations(name: str) -> dict[str, str]:
        (pod,) = [pod for pod in world.get("pods") if pod["metadata"]["name"] == name]
        found: dict[str, str] = pod["metadata"].get("annotations", {})
        return found

    eventually(lambda: protection.items() <= annotations(busy).items())
    assert not protection.keys() & annotations(idle).keys()
    world.patch(disruption={"protectBusy": False})
    eventually(lambda: not protection.keys() & annotations(busy).keys())
