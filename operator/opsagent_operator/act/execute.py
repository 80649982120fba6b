"""Carries a plan out: gate, marks, pods, apply, delete; then status and events, which tell how that went."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from opsagent_operator.act.apply import RESOURCES, Applier
from opsagent_operator.act.drain import set_marks
from opsagent_operator.act.events import EventRecorder
from opsagent_operator.act.gate import set_intake
from opsagent_operator.act.status import write_status
from opsagent_operator.kube.client import DEPLOYMENTS, PODS, Kube
from opsagent_operator.kube.errors import Conflict, NotFound, Rejected
from opsagent_operator.manifests.labels import DELETION_COST, REVISION
from opsagent_operator.model.observed import Unreachable, Worker
from opsagent_operator.model.plan import Event, ObjectKey, Plan, PodPatch
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
    """Why the gate of the queue, or the marks in it, could not be set."""


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

    def behind(self, owner: Key) -> bool:
        """Whether a correction of a child was put off."""
        return self._applier.behind(owner)

    async def change(self, worker: Worker, plan: Plan) -> Changes:
        """Set the gate and the marks, annotate pods, apply the children, delete what is to go.

        Raises:
            KubeError: the API server does not answer: what is left will be done at the next visit.
        """
        gate_failure = None
        if plan.pause_intake is not None:
            gate_failure = await set_intake(self._queues, worker, paused=plan.pause_intake)
        if plan.drain is not None:
            marks_failure = await set_marks(self._queues, worker, plan.drain)
            gate_failure = gate_failure or marks_failure
        held_back, pod_rejection = await self._patch_pods(worker, plan.pods)
        corrections, rejection = await self._apply(worker, plan, held_back)
        rejection = pod_rejection or rejection
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

    async def _patch_pods(
        self, worker: Worker, patches: Iterable[PodPatch]
    ) -> tuple[set[str], Rejected | None]:
        """Annotate pods; the Deployments named must not be lowered: of their pods others would go."""
        held_back: set[str] = set()
        rejection: Rejected | None = None
        for patch in patches:
            key = Key(worker.namespace, patch.name)
            live = self._cache.get(PODS, key)
            if live is None:
                continue  # gone while the queue was asked
            body = {"metadata": {"annotations": dict(patch.annotations)}}
            try:
                answer = await self._kube.merge(PODS, body, namespace=key.namespace, name=key.name)
            except NotFound:
                self._cache.record_absence(PODS, key)
            except Rejected as error:
                rejection = rejection or error
                if patch.annotations.get(DELETION_COST) is not None:
                    held_back.add(live["metadata"]["labels"][REVISION])
            else:
                self._cache.record_write(PODS, answer)
        return held_back, rejection

    async def _apply(
        self, worker: Worker, plan: Plan, held_back: Collection[str]
    ) -> tuple[list[Event], Rejected | None]:
        corrections: list[Event] = []
        rejection: Rejected | None = None
        for manifest in plan.apply:
            if manifest["metadata"]["name"] in held_back and self._lowers(manifest):
                continue
            try:
                event = await self._applier.apply(Key(worker.namespace, worker.name), manifest)
            except Rejected as error:
                rejection = rejection or error
            else:
                corrections += [event] if event is not None else []
        return corrections, rejection

    def _lowers(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the manifest is a Deployment's, with fewer replicas than it has."""
        metadata = manifest["metadata"]
        live = self._cache.get(DEPLOYMENTS, Key(metadata["namespace"], metadata["name"]))
        if manifest["kind"] != DEPLOYMENTS.kind or live is None:
            return False
        lower: bool = manifest["spec"]["replicas"] < live["spec"]["replicas"]
        return lower

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
