"""One visit to one object."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from opsagent_operator.act.execute import Executor
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.kube.client import CONTROLLER_REVISIONS, DEPLOYMENTS, PODS, Resource
from opsagent_operator.kube.errors import NamespaceTerminating
from opsagent_operator.model.observed import (
    InvalidSpec,
    Memory,
    Observed,
    QueueState,
    Unreachable,
    Worker,
)
from opsagent_operator.model.plan import Event, Plan
from opsagent_operator.observe import convert
from opsagent_operator.observe.cluster import ClusterCache, Key
from opsagent_operator.observe.queue import Queues
from opsagent_operator.runtime.resting import Rest, Resting
from opsagent_operator.runtime.scaling_metrics import ScalingMetrics
from opsagent_queue import EventType

__all__ = ["GateError", "Reconciler"]

Object = Mapping[str, Any]
Decide = Callable[[Observed, datetime], Plan]


class GateError(Exception):
    """What the operator has to say to the workers of a queue could not be written there."""


class _Untold(NamedTuple):
    """What was done in a visit, and not told yet."""

    worker: Worker
    plan: Plan
    corrections: Sequence[Event]


class Reconciler:
    """Observes, decides and acts; keeps what the decisions want to remember."""

    def __init__(
        self,
        *,
        cache: ClusterCache,
        queues: Queues,
        executor: Executor,
        metrics: ScalingMetrics,
        resting: Resting,
        decide: Decide = decide,
    ) -> None:
        self._cache = cache
        self._queues = queues
        self._executor = executor
        self._metrics = metrics
        self._decide = decide
        self._memories: dict[Key, tuple[str, Memory]] = {}
        """With the uid of the object: another one that took its name has no past."""
        self._announced: dict[Key, float] = {}
        self._resting = resting
        self._untold: dict[Key, _Untold] = {}

    def announce(self, key: Key, at: float) -> None:
        """A task was announced for the object at this time of the event loop: it has to be visited."""
        self._announced.setdefault(key, at)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Visit the object; returns when to come back, or None when only a change is a reason to.

        Raises:
            Exception: the visit has to be repeated after a back-off.
        """
        if (untold := self._untold.pop(key, None)) is not None:
            await self._executor.report(*untold)
            self._memories[key] = untold.worker.uid, untold.plan.memory
            return timedelta()
        announced = self._announced.pop(key, None)
        if announced is None and await self._resting.undisturbed(key):
            return None
        self._resting.rouse(key)
        try:
            return await self._visit(key, announced)
        except Exception:
            if announced is not None:
                self._announced[key] = announced
            raise

    async def _visit(self, key: Key, announced: float | None) -> timedelta | None:
        # 1. Get it. Kubernetes itself deletes the children of an object that is going.
        version = self._cache.version(key)
        body = self._cache.worker(key)
        if body is None:
            self._memories.pop(key, None)
            self._executor.forget(key)
            self._queues.forget(key)
            self._metrics.forget(key)
            return None
        worker = convert.worker(body)
        if worker.deleting:
            return None

        # 2. Observe: the queue first, because that takes a moment in which the cluster goes on.
        uid, memory = self._memories.get(key, (worker.uid, Memory()))
        if uid != worker.uid:
            memory = Memory()
        versions = self._timed_versions(key, worker)
        queue = await self._queues.observe(worker, start_time=memory.start_time, versions=versions)
        if version != self._cache.version(key):
            latest = self._cache.worker(key)
            if latest is None or latest["metadata"]["uid"] != worker.uid:
                return timedelta()
            version, worker = self._cache.version(key), convert.worker(latest)
        woken_by = None if announced is None else _announcement(worker)
        observed = self._observe(key, worker, queue, memory=memory, woken_by=woken_by)

        # 3. Decide.
        now = datetime.now(UTC)
        plan = self._decide(observed, now)

        # 4. Act, and tell how that went.
        try:
            plan, told = await self._carry_out(key, observed, plan, announced, now)
        except NamespaceTerminating:
            return None

        # 5. Come back, unless only a change can make a difference.
        if not told:
            return timedelta()
        if plan.at_rest and not self._executor.behind(key):
            shown = replace(worker, status={})  # which is long, and nobody needs it
            rest = Rest(shown, memory.start_time, versions, version, queue, plan.requeue_after)
            self._resting.lay(key, rest)
            return None
        return plan.requeue_after

    async def _carry_out(
        self, key: Key, observed: Observed, plan: Plan, announced: float | None, now: datetime
    ) -> tuple[Plan, bool]:
        """The plan as it was carried out, and whether that was told: if not, the next visit tells it."""
        changes = await self._executor.change(observed.worker, plan)
        self._measure(key, observed, plan, announced)
        if changes.rejection is not None:
            refused = replace(observed, apply_error=str(changes.rejection))
            plan = self._decide(refused, now)
        told = changes.rejection is not None or not self._others_wait_for(plan)
        # What could not be told is decided again: that it was is remembered only then.
        if told:
            await self._executor.report(observed.worker, plan, changes.corrections)
            self._memories[key] = observed.worker.uid, plan.memory
        else:
            self._untold[key] = _Untold(observed.worker, plan, changes.corrections)
        if changes.rejection is not None:
            raise changes.rejection
        if changes.gate_failure is not None:
            raise GateError(f"gate or drain marks could not be set: {changes.gate_failure.message}")
        return plan, told

    def _others_wait_for(self, plan: Plan) -> bool:
        """Whether tasks of other objects wait for workers while this one's have got theirs.

        Telling takes the API server longer than scaling: when two hundred objects are woken at once, all are
        scaled first, and what was done is told afterwards.
        """
        outcome = plan.outcome
        return bool(self._announced) and outcome is not None and outcome.desired > outcome.current

    def _timed_versions(self, key: Key, worker: Worker) -> Collection[str]:
        """Versions whose run times the decision asks for: of the current release and those before."""
        spec = worker.spec
        if isinstance(spec, InvalidSpec) or spec.scaling.max_queue_wait is None:
            return ()
        children = self._cache.owned_by(CONTROLLER_REVISIONS, key)
        return {spec.version, *(child["data"]["version"] for child in children)}

    def _measure(self, key: Key, observed: Observed, plan: Plan, announced: float | None) -> None:
        if isinstance(observed.queue, QueueState):
            self._metrics.queue_was_read(key)
        if plan.outcome is None:
            return
        self._metrics.decided(key, plan.outcome)
        if announced is not None and plan.outcome.desired > plan.outcome.current:
            seconds = asyncio.get_running_loop().time() - announced
            self._metrics.scaled_up(seconds=seconds)

    def _observe(
        self,
        key: Key,
        worker: Worker,
        queue: QueueState | Unreachable,
        *,
        memory: Memory,
        woken_by: str | None,
    ) -> Observed:
        def children(resource: Resource) -> Iterator[Object]:
            """Those of this very object: what an earlier one of its name left is on its way out."""
            for child in self._cache.owned_by(resource, key):
                owners = child["metadata"].get("ownerReferences") or ()
                if any(owner["uid"] == worker.uid for owner in owners):
                    yield child

        return Observed(
            worker=worker,
            queue=queue,
            revisions=tuple(convert.revision(child) for child in children(CONTROLLER_REVISIONS)),
            deployments={
                child["metadata"]["name"]: convert.deployment_state(child)
                for child in children(DEPLOYMENTS)
            },
            pods=tuple(convert.pod_state(child) for child in self._cache.owned_by(PODS, key)),
            memory=memory,
            woken_by=woken_by,
        )


def _announcement(worker: Worker) -> str:
    """What tells of tasks for the object."""
    queue = None if isinstance(worker.spec, InvalidSpec) else worker.spec.queue
    if queue is None or queue.key is None:
        return EventType.TASK_CREATED.value
    return f"a change of {queue.key}"
