"""What is written, and what is not. The API server here only remembers what it was told."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from opsagent_operator.act.apply import CORRECTION_INTERVAL, Applier
from opsagent_operator.act.events import MESSAGE_LIMIT, EventRecorder
from opsagent_operator.act.execute import Executor
from opsagent_operator.kube.client import DEPLOYMENTS, EVENTS, PODS, Resource
from opsagent_operator.kube.errors import Conflict, NotFound, Rejected, Unavailable
from opsagent_operator.manifests.labels import DELETION_COST
from opsagent_operator.model.observed import Unreachable, Worker
from opsagent_operator.model.plan import Event, ObjectKey, Plan, PodPatch
from opsagent_operator.observe import convert
from opsagent_operator.observe.cluster import ClusterCache, Key

Run = Callable[[Any], Any]
OWNER = Key("shop", "ops-agent")


class FakeKube:
    """Takes every manifest as it is, but for what `insist` changes and what `failure` prevents."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.insist: dict[str, Any] = {}
        self.failures: dict[str, Exception] = {}
        self.gone: set[str] = set()
        """Objects that nobody has been told of yet that they were deleted."""
        self._version = 100

    async def apply(self, resource: Resource, manifest: Mapping[str, Any]) -> dict[str, Any]:
        name = self._call("apply", manifest["metadata"]["name"])
        return self.keep(resource, name, {**manifest, **self.insist})

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> dict[str, Any]:
        name = self._call("create", manifest["metadata"]["name"])
        if (resource.kind, name) in self.objects:
            raise Conflict(name)
        return self.keep(resource, name, manifest)

    async def get(self, resource: Resource, *, namespace: str, name: str) -> dict[str, Any]:
        del namespace
        return self.objects[resource.kind, self._call("get", name)]

    async def merge(
        self, resource: Resource, patch: Mapping[str, Any], *, name: str, **_: Any
    ) -> dict[str, Any]:
        self._call("merge", name)
        if name in self.gone:
            raise NotFound(name)
        before = self.objects.get((resource.kind, name), {"metadata": {"namespace": "shop"}})
        metadata = {**before["metadata"], **patch.get("metadata", {}), "name": name}
        spec = {**before.get("spec", {}), **patch.get("spec", {})}
        return self.keep(resource, name, {**before, **patch, "metadata": metadata, "spec": spec})

    async def delete(self, resource: Resource, *, name: str, **_: Any) -> None:
        self.objects.pop((resource.kind, self._call("delete", name)), None)

    def _call(self, verb: str, name: str) -> str:
        self.calls.append((verb, name))
        if name in self.failures:
            raise self.failures[name]
        return name

    def keep(self, resource: Resource, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self.objects[resource.kind, name] = {**body, "metadata": metadata}
        return self.objects[resource.kind, name]


def deployment(replicas: int = 1, name: str = "a") -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": "shop",
            "name": name,
            "labels": {"opsagent.dev/worker": OWNER.name},
        },
        "spec": {"replicas": replicas},
    }


def worker(**status: Any) -> Worker:
    metadata = {"namespace": "shop", "name": "ops-agent", "uid": "1", "generation": 1}
    return convert.worker({"metadata": metadata, "spec": {}, "status": status})


class Bench:
    """An applier with a server and a cache."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.cache = ClusterCache()
        server: Any = self.kube
        self.applier = Applier(kube=server, cache=self.cache)

    async def apply(self, manifest: Mapping[str, Any]) -> Event | None:
        return await self.applier.apply(OWNER, manifest)

    def edit(self, **spec: Any) -> None:
        """Somebody else changes the Deployment, and the watch tells."""
        body = self.kube.keep(DEPLOYMENTS, "a", {**deployment(), "spec": spec})
        self.cache.observe(DEPLOYMENTS, body, listed=False)


def test_a_child_is_written_once_and_again_only_when_it_shall_change(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        for replicas in (1, 1, 2, 2, 2, 1):
            assert await bench.apply(deployment(replicas)) is None
        assert len(bench.kube.calls) == 3

    run(work())


def test_a_number_that_changes_alone_is_patched_and_all_else_is_applied(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.edit(replicas=1, paused=True)
        scaled, both = deployment(2), deployment(3)
        both["spec"]["paused"] = False
        for manifest in (scaled, both):
            assert await bench.apply(manifest) is None
            assert (
                bench.kube.objects["Deployment", "a"]["spec"] == {"paused": True} | manifest["spec"]
            )
        assert bench.kube.calls == [("merge", "a"), ("apply", "a")]

    run(work())


def test_a_child_that_is_gone_when_its_number_is_patched_is_made_again(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.edit(replicas=1)
        bench.kube.gone.add("a")
        assert await bench.apply(deployment(2)) is None
        assert bench.kube.calls == [("merge", "a"), ("apply", "a")]

    run(work())


def test_what_holds_already_is_not_applied_after_a_restart(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.edit(replicas=1, paused=True)
        assert await bench.apply(deployment(1)) is None
        assert bench.kube.calls == []

    run(work())


def test_a_change_by_somebody_else_is_set_back_and_told(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.apply(deployment(1))
        bench.edit(replicas=5)
        event = await bench.apply(deployment(1))
        assert event is not None
        assert (event.type, event.reason) == ("Warning", "DriftCorrected")
        assert "spec.replicas" in event.message

    run(work())


def test_whoever_fights_is_answered_at_most_every_ten_seconds(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.apply(deployment(1))
        for _ in range(100):
            bench.edit(replicas=5)
            await bench.apply(deployment(1))
            await asyncio.sleep(1)
        corrections = len(bench.kube.calls) - 1
        assert 9 <= corrections <= 100 / CORRECTION_INTERVAL

    run(work())


def test_a_correction_that_waits_is_not_forgotten(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.apply(deployment(1))
        bench.edit(replicas=5)
        await bench.apply(deployment(1))
        assert not bench.applier.behind(OWNER)
        bench.edit(replicas=5)
        await bench.apply(deployment(1))
        assert bench.applier.behind(OWNER)
        await asyncio.sleep(CORRECTION_INTERVAL)
        await bench.apply(deployment(1))
        await bench.apply(deployment(1))
        assert not bench.applier.behind(OWNER)
        assert bench.kube.objects["Deployment", "a"]["spec"]["replicas"] == 1

    run(work())


def test_a_child_that_holds_is_not_compared_again_until_it_changes(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.apply(deployment(1))
        await bench.apply(deployment(1))
        known, reads = bench.cache.get, []

        def get(resource: Resource, key: Key) -> Any:
            reads.append(key)
            return known(resource, key)

        bench.cache.get = get  # type: ignore[method-assign] # counts
        await bench.apply(deployment(1))
        assert reads == []
        bench.edit(replicas=5)
        assert await bench.apply(deployment(1)) is not None
        assert reads == [Key("shop", "a")]

    run(work())


def test_a_change_of_mind_is_not_held_back_by_a_correction(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.apply(deployment(1))
        bench.edit(replicas=5)
        await bench.apply(deployment(1))
        assert await bench.apply(deployment(3)) is None
        assert bench.kube.objects["Deployment", "a"]["spec"]["replicas"] == 3

    run(work())


def test_what_an_admission_webhook_insists_on_is_not_fought(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        bench.kube.insist = {"spec": {"replicas": 7}}
        for _ in range(50):
            await bench.apply(deployment(1))
            await asyncio.sleep(5)
        assert bench.kube.calls == [("apply", "a")]

    run(work())


def test_a_deployment_that_was_deleted_is_made_again_and_told(run: Run) -> None:
    async def work() -> None:
        bench = Bench()
        await bench.apply(deployment(1))
        bench.cache.record_absence(DEPLOYMENTS, Key("shop", "a"))
        event = await bench.apply(deployment(1))
        assert event is not None
        assert "deleted" in event.message
        assert bench.cache.get(DEPLOYMENTS, Key("shop", "a")) is not None

    run(work())


def executor(kube: Any, cache: ClusterCache) -> Executor:
    nobody: Any = None
    return Executor(kube=kube, cache=cache, queues=nobody)


def test_one_refused_child_does_not_stop_the_others(run: Run) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        kube.failures["b"] = Rejected("over quota")
        plan = Plan(apply=tuple(deployment(name=name) for name in "abc"))
        changes = await executor(kube, ClusterCache()).change(worker(), plan)
        assert str(changes.rejection) == "over quota"
        assert kube.calls == [("apply", name) for name in "abc"]

    run(work())


def test_an_api_server_that_is_away_ends_the_visit(run: Run) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        kube.failures["a"] = Unavailable("away")
        plan = Plan(apply=(deployment(name="a"), deployment(name="b")))
        with pytest.raises(Unavailable):
            await executor(kube, ClusterCache()).change(worker(), plan)
        assert kube.calls == [("apply", "a")]

    run(work())


@pytest.mark.parametrize("failure", [None, NotFound("gone"), Conflict("another by now")])
def test_what_is_deleted_is_forgotten_at_once(run: Run, failure: Exception | None) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        cache = ClusterCache()
        body = deployment()
        body["metadata"] |= {"resourceVersion": "1", "uid": "7"}
        cache.observe(DEPLOYMENTS, body, listed=True)
        if failure is not None:
            kube.failures["a"] = failure
        acting = executor(kube, cache)
        plan = Plan(delete=(ObjectKey(kind="Deployment", name="a"),))
        await acting.change(worker(), plan)
        await acting.change(worker(), plan)
        assert kube.calls == [("delete", "a")]
        assert cache.get(DEPLOYMENTS, Key("shop", "a")) is None

    run(work())


@pytest.mark.parametrize("failure", [NotFound("gone"), Conflict("another by now")])
def test_a_status_for_an_object_that_has_gone_is_no_error(run: Run, failure: Exception) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        kube.failures["ops-agent"] = failure
        await executor(kube, ClusterCache()).report(worker(), Plan(status={"ready": "1/1"}), ())
        assert kube.calls == [("merge", "ops-agent")]

    run(work())


def test_a_status_that_stands_already_is_not_written(run: Run) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        plan = Plan(status={"ready": "1/1"})
        await executor(kube, ClusterCache()).report(worker(ready="1/1"), plan, ())
        assert kube.calls == []

    run(work())


def test_the_same_event_is_one_object_with_a_count(run: Run) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        event = Event(type="Normal", reason="ScaledUp", message="1 replica")
        await EventRecorder(kube=kube).record(worker(), event)
        # Another process tells the same: the operator has been started anew.
        recorder = EventRecorder(kube=kube)
        await recorder.record(worker(), event)
        await recorder.record(worker(), event)  # within seconds: not written again
        ((kind, _), written) = next(iter(kube.objects.items()))
        assert (len(kube.objects), kind, written["count"]) == (1, EVENTS.kind, 2)
        assert written["involvedObject"]["uid"] == "1"
        first = datetime.fromisoformat(written["firstTimestamp"])
        assert first <= datetime.fromisoformat(written["lastTimestamp"]) <= datetime.now(UTC)

    run(work())


def test_an_event_that_cannot_be_written_is_no_error(run: Run) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        event = Event(type="Normal", reason="ScaledUp", message="1 replica")
        await EventRecorder(kube=kube).record(worker(), event)
        kube.failures[next(name for _, name in kube.calls)] = Unavailable("away")
        await EventRecorder(kube=kube).record(worker(), event)

    run(work())


def test_a_long_message_is_cut_at_a_whole_character(run: Run) -> None:
    async def work() -> None:
        kube: Any = FakeKube()
        await EventRecorder(kube=kube).record(
            worker(), Event(type="Warning", reason="Long", message="ü" * 2000)
        )
        message = next(iter(kube.objects.values()))["message"]
        assert len(message.encode()) <= MESSAGE_LIMIT
        assert message.endswith("ü…")

    run(work())


class FakeQueues:
    """Remembers which pods were marked; fails if told to."""

    def __init__(self, calls: list[tuple[str, str]], failure: Unreachable | None = None) -> None:
        self.calls, self.failure = calls, failure

    async def use(self, worker: Worker, operation: Callable[[Any], Any]) -> Unreachable | None:
        del worker
        if self.failure is None:
            await operation(self)
        return self.failure

    async def set_drain_marks(self, pods: frozenset[str]) -> None:
        self.calls.append(("mark", ",".join(sorted(pods))))


def with_pods(cache: ClusterCache, kube: FakeKube, *names: str) -> None:
    """A Deployment `a` of two replicas, and pods of it."""
    cache.observe(DEPLOYMENTS, kube.keep(DEPLOYMENTS, "a", deployment(2)), listed=False)
    for name in names:
        labels = {"opsagent.dev/worker": OWNER.name, "opsagent.dev/revision": "a"}
        metadata = {"namespace": "shop", "name": name, "labels": labels, "uid": name}
        cache.observe(PODS, kube.keep(PODS, name, {"metadata": metadata}), listed=False)


def cheap(*names: str) -> tuple[PodPatch, ...]:
    return tuple(PodPatch(name=name, annotations={DELETION_COST: "-1000"}) for name in names)


def test_marks_come_before_pods_and_pods_before_their_deployment(run: Run) -> None:
    async def work() -> None:
        kube, cache = FakeKube(), ClusterCache()
        with_pods(cache, kube, "p1", "p2")
        server: Any = kube
        queues: Any = FakeQueues(kube.calls)
        acting = Executor(kube=server, cache=cache, queues=queues)
        plan = Plan(drain=frozenset({"p1", "p2"}), pods=cheap("p1"), apply=(deployment(1),))
        await acting.change(worker(), plan)
        assert kube.calls == [("mark", "p1,p2"), ("merge", "p1"), ("merge", "a")]
        known = cache.get(PODS, Key("shop", "p1"))
        assert known is not None
        assert known["metadata"]["annotations"] == {DELETION_COST: "-1000"}

    run(work())


def test_a_pod_that_is_gone_is_no_obstacle(run: Run) -> None:
    async def work() -> None:
        kube, cache = FakeKube(), ClusterCache()
        with_pods(cache, kube, "p1")
        kube.failures["p1"] = NotFound("p1")
        plan = Plan(pods=cheap("p1", "never-seen"), apply=(deployment(1),))
        changes = await executor(kube, cache).change(worker(), plan)
        assert changes.rejection is None
        assert kube.calls == [("merge", "p1"), ("merge", "a")]
        assert cache.get(PODS, Key("shop", "p1")) is None

    run(work())


def test_where_a_cost_is_refused_the_deployment_is_not_lowered_and_others_are(run: Run) -> None:
    async def work() -> None:
        kube, cache = FakeKube(), ClusterCache()
        with_pods(cache, kube, "p1", "p2")
        kube.failures["p1"] = Rejected("annotations are frozen")
        other = kube.keep(DEPLOYMENTS, "b", deployment(2, "b"))
        cache.observe(DEPLOYMENTS, other, listed=False)
        plan = Plan(pods=cheap("p1", "p2"), apply=(deployment(1), deployment(1, "b")))
        changes = await executor(kube, cache).change(worker(), plan)
        assert str(changes.rejection) == "annotations are frozen"
        assert kube.calls == [("merge", "p1"), ("merge", "p2"), ("merge", "b")]

    run(work())


def test_where_another_annotation_is_refused_the_deployment_is_lowered_all_the_same(
    run: Run,
) -> None:
    async def work() -> None:
        kube, cache = FakeKube(), ClusterCache()
        with_pods(cache, kube, "p1")
        kube.failures["p1"] = Rejected("annotations are frozen")
        patch = PodPatch(name="p1", annotations={"karpenter.sh/do-not-disrupt": "true"})
        await executor(kube, cache).change(worker(), Plan(pods=(patch,), apply=(deployment(1),)))
        assert kube.calls == [("merge", "p1"), ("merge", "a")]

    run(work())


def test_marks_that_could_not_be_set_are_told_and_stop_nothing_else(run: Run) -> None:
    async def work() -> None:
        kube, cache = FakeKube(), ClusterCache()
        lost = Unreachable(reason="ConnectionFailed", message="away")
        server: Any = kube
        queues: Any = FakeQueues(kube.calls, lost)
        acting = Executor(kube=server, cache=cache, queues=queues)
        changes = await acting.change(worker(), Plan(drain=frozenset(), apply=(deployment(1),)))
        assert changes.gate_failure == lost
        assert kube.calls == [("apply", "a")]

    run(work())
