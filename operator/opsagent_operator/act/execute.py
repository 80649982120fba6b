"""Carries a plan out: gate, apply, delete; then status and events, which tell how that went."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from opsagent_operator.act.apply import RESOURCES, Applier
from opsagent_operator.act.events import EventRecorder
from opsagent_operator.act.gate import set_intake
from opsagent_operator.act.status import write_status
from opsagent_operator.kube.client import Kube
from opsagent_operator.kube.errors import Conflict, NotFound, Rejected
from opsagent_operator.model.observed import Unreachable, Worker
from opsagent_operator.model.plan import Event, ObjectKey, Plan
from opsagent_operator.observe.cluster import ClusterCache, Key
from opsagent_operator.observe.queue import Queues

__all__ = ["Changes", "Executor"]


@dataclass(frozen=True, slots=True)
class Changes:
    """How changing the world went."""

    corrections: tuple[Event, ...] = ()
    rejection: Rejected | None = None
    """The first child that the API server refused; the others were applied all the same."""
    gate_failure: Unreachable | None = None
    """Why the gate of the queue could not be set."""


class Executor:
    """Acts on the cluster and on the queue."""

    def __init__(self, *, kube: Kube, cache: ClusterCache, queues: Queues) -> None:
        self._kube = kube
        self._cache = cache
        self._queues = queues
        self._applier = Applier(kube=kube, cache=cache)
        self._events = EventRecorder(kube=kube)

    def forget(self, owner: Key) -> None:
        """The object is gone."""
        self._applier.forget(owner)

    async def change(self, worker: Worker, plan: Plan) -> Changes:
        """Set the gate, apply the children, delete what is to go.

        Raises:
            KubeError: the API server does not answer: what is left will be done at the next visit.
        """
        gate_failure = None
        if plan.pause_intake is not None:
            gate_failure = await set_intake(self._queues, worker, paused=plan.pause_intake)
        corrections, rejection = await self._apply(worker, plan)
        for child in plan.delete:
            await self._delete(worker, child)
        return Changes(tuple(corrections), rejection, gate_failure)

    async def report(self, worker: Worker, plan: Plan, corrections: Iterable[Event]) -> None:
        """Write the status, then the events.

        Raises:
            KubeError: the API server does not answer, or refuses the status.
        """
        if plan.status is not None:
            await write_status(plan.status, worker, kube=self._kube, cache=self._cache)
        for event in (*corrections, *plan.events):
            await self._events.record(worker, event)

    async def _apply(self, worker: Worker, plan: Plan) -> tuple[list[Event], Rejected | None]:
        corrections: list[Event] = []
        rejection: Rejected | None = None
        for manifest in plan.apply:
            try:
                event = await self._applier.apply(Key(worker.namespace, worker.name), manifest)
            except Rejected as error:
                rejection = rejection or error
            else:
                corrections += [event] if event is not None else []
        return corrections, rejection

    async def _delete(self, worker: Worker, child: ObjectKey) -> None:
        resource, key = RESOURCES[child.kind], Key(worker.namespace, child.name)
        live = self._cache.get(resource, key)
        if live is None:
            return
        # Gone already; or another object by now, which the next visit will see.
        with suppress(NotFound, Conflict):
            await self._kube.delete(
                resource, namespace=key.namespace, name=key.name, uid=live["metadata"]["uid"]
            )
        self._cache.record_absence(resource, key)
