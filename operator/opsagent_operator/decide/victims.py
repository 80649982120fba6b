"""Who goes when there are fewer workers: a Deployment is lowered only by pods that hold no task.

A pod that shall go gets a drain mark in Redis first. The claim script hands nothing to a marked pod,
so one that is seen marked and without a lease, both in one snapshot, will never hold a task again: it
is *confirmed*. Confirmed pods get a deletion cost, and their Deployment is lowered by just as many.

What this relies on, from Kubernetes' ReplicaSet controller (`ActivePodsWithRanks` in
pkg/controller/controller_utils.go): of the pods that are neither deleting nor ended, those go first
that are not assigned to a node, then pending before running, then not ready, then by lowest
`pod-deletion-cost`, and only then by what nobody chooses (pods on the same node, time ready, restarts,
age). Hence:

- Pods that are not ready are victims before all others: they would go first whatever others cost.
  While one of them is not confirmed, no ready pod can be made to go in its place.
- When all pods go, nothing is sorted, and no cost is needed.
- The controller sees pods and Deployment through caches of its own, so that a pod may be taken before
  its cost has arrived. Nothing is lost then, because SIGTERM drains a worker, too; but it is looked for,
  counted and told.

A pod once chosen stays chosen, unless an idle one can go in its place. One that is busy for longer than
`worker.drainTimeout` counts as confirmed: SIGTERM gives it the same time once more.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from opsagent_operator.api.duration import format_duration
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.decide.replicas import Replicas
from opsagent_operator.model.observed import (
    DeploymentState,
    Memory,
    Observed,
    PodState,
    QueueState,
    Removal,
    Revision,
)
from opsagent_operator.model.plan import Event

__all__ = ["GOING", "ScaleIn", "order", "scale_in"]

GOING: Final = -1000
"""Deletion cost of a pod that is to go. Any other cost is somebody else's and stays."""
VERIFY_LIMIT: Final = timedelta(seconds=60)
"""For how long the chosen pods are looked for after a Deployment was lowered."""
SHOWN: Final = 3
"""Pods that a message names at most."""

_NONE: Final = DeploymentState(replicas=0, ready=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleIn:
    """What one visit does about workers that are too many."""

    replicas: int
    """For the lead's Deployment, from now on."""
    drain: frozenset[str] | None = None
    """As in `Plan`."""
    costs: Mapping[str, int | None]
    """Deletion costs that change, by pod; None removes one."""
    told: Replicas
    """The decision, as far as it is carried out."""
    memory: Memory
    chosen: int = 0
    """Pods by which the Deployment is lowered now, and which were chosen."""
    missed: int = 0
    """Chosen pods in whose place others went."""
    events: tuple[Event, ...] = ()
    again: bool = False
    """Whether the marks are new, and the next visit shall see at once what they did."""


def scale_in(
    observed: Observed,
    spec: OpsAgentWorkerSpec,
    lead: Revision | None,
    replicas: Replicas,
    *,
    wanted: int,
    now: datetime,
) -> ScaleIn:
    """How far the Deployment of `lead` is lowered in this visit, and which pods are to go.

    Args:
        observed: everything known about the object.
        spec: its spec.
        lead: the revision that serves; None if none does yet.
        replicas: the decision about the number.
        wanted: the share of `lead` in it.
        now: the time of the decision.
    """
    memory = replicas.memory
    removal, missed, events = _verified(observed, now)
    memory = memory.updated(removal=removal)
    deployments = observed.deployments
    asked = deployments.get(lead.name, _NONE).replicas if lead is not None else wanted
    pods = [pod for pod in observed.pods if lead and pod.revision == lead.name and _alive(pod)]
    queue = observed.queue
    lowering = bool(memory.draining_since)

    if not isinstance(queue, QueueState) or memory.emptied_at is not None:
        # What was begun waits until it is known again who is busy; people's own numbers do not.
        keep = lowering and spec.replicas is None and not spec.paused
        return ScaleIn(
            replicas=max(asked, wanted) if keep else wanted,
            costs={},
            told=replicas,
            # Marks run out meanwhile, and their pods take tasks again: they get their time anew.
            memory=memory.updated(draining_since=dict.fromkeys(memory.draining_since, now)),
            missed=missed,
            events=events,
        )

    # Somebody else's replicas are taken back at once, as every other change of a child.
    by_hand = asked > replicas.current and not lowering and observed.memory.asked is not None
    choosing = not (spec.paused or by_hand) and (
        (lowering and queue.task_aware) or _tells(queue, pods)
    )
    victims = _choose(pods, queue, asked=asked, wanted=wanted) if choosing else []
    since = {pod.name: memory.draining_since.get(pod.name, now) for pod in victims}
    overdue = {name for name, at in since.items() if now >= at + spec.worker.drain_timeout}
    confirmed = _confirmed(victims, pods, queue, overdue)
    count = wanted
    if victims and wanted < asked:
        count = min(asked, max(wanted, len(pods) - len(confirmed)))

    going, names = frozenset(pod.name for pod in confirmed), frozenset(since)
    if lead is not None and going and count < asked:
        others = frozenset(pod.name for pod in pods if pod.ready) - going
        removal = Removal(revision=lead.name, pods=going, others=others, at=now)
    elif wanted > asked:
        removal = None  # with more replicas again, nobody is to go who is still there
    # A mark stays with a pod that is on its way out: work that comes before SIGTERM does is not for it.
    marks = names | {pod.name for pod in observed.pods if pod.deleting and pod.name in queue.marked}
    told, why = _told(
        replicas, queue, confirmed, victims, count=count, asked=asked, wanted=wanted, spec=spec
    )
    return ScaleIn(
        replicas=count,
        drain=marks if marks or queue.marked else None,
        costs={} if going and len(going) == len(pods) else _costs(observed.pods, going, names),
        told=told,
        memory=memory.updated(removal=removal, draining_since=since, lowering=why),
        chosen=min(len(going), max(0, asked - count)),
        missed=missed,
        events=events,
        again=any(name not in memory.draining_since for name in names - queue.marked),
    )


def _choose(
    pods: Sequence[PodState], queue: QueueState, *, asked: int, wanted: int
) -> list[PodState]:
    """As many of `pods` as there are too many, in the order in which they go."""
    surplus = max(0, len(pods) - wanted)
    if wanted >= asked:
        # The Deployment is low enough: only those that were chosen for that are still to go.
        pods = [pod for pod in pods if wanted == 0 or pod.deletion_cost == GOING]
    return sorted(pods, key=lambda pod: order(pod, queue))[:surplus]


def order(pod: PodState, queue: QueueState) -> tuple[bool, bool, bool, bool, bool, int, float, str]:
    """Sorts pods by who goes first; see above."""
    held = queue.held.get(pod.name, 0)
    return (
        pod.ready,
        pod.name in queue.workers or held > 0,
        pod.deletion_cost != GOING,
        held > 0,
        pod.name not in queue.marked,
        held,
        -pod.created_at.timestamp(),
        pod.name,
    )


def _alive(pod: PodState) -> bool:
    return not (pod.deleting or pod.ended)


def _tells(queue: QueueState, pods: Iterable[PodState]) -> bool:
    """Whether the queue tells which of these pods are busy: workers of another make do not report."""
    return queue.task_aware and any(
        pod.name in queue.workers or pod.name in queue.held for pod in pods
    )


def _confirmed(
    victims: Iterable[PodState],
    pods: Iterable[PodState],
    queue: QueueState,
    overdue: Collection[str],
) -> list[PodState]:
    """The victims that can go now."""
    confirmed = [
        pod
        for pod in victims
        if (pod.name in queue.marked and pod.name not in queue.held) or pod.name in overdue
    ]
    names = {pod.name for pod in confirmed}
    if any(not pod.ready and pod.name not in names for pod in pods):
        return [pod for pod in confirmed if not pod.ready]
    return confirmed


def _costs(
    pods: Iterable[PodState], going: Collection[str], victims: Collection[str]
) -> Mapping[str, int | None]:
    """Who gets the cost of those that go, and who loses it because it is no victim any more."""
    changes: dict[str, int | None] = {}
    for pod in filter(_alive, pods):
        if pod.name in going and pod.deletion_cost != GOING:
            changes[pod.name] = GOING
        elif pod.name not in victims and pod.deletion_cost == GOING:
            changes[pod.name] = None
    return changes


def _verified(observed: Observed, now: datetime) -> tuple[Removal | None, int, tuple[Event, ...]]:
    """What is left to be seen of the last removal; how many pods it missed, and the event about it."""
    removal = observed.memory.removal
    if removal is None:
        return None, 0, ()
    alive = {pod.name for pod in observed.pods if pod.revision == removal.revision and _alive(pod)}
    staying = removal.pods & alive
    if not staying or now > removal.at + VERIFY_LIMIT:
        return None, 0, ()
    if len(alive) > observed.deployments.get(removal.revision, _NONE).replicas:
        return replace(removal, pods=staying), 0, ()
    gone = removal.others - alive
    if not gone:
        return None, 0, ()
    missed = min(len(gone), len(staying))
    event = Event(
        type="Warning",
        reason="ScaleInMismatch",
        message=f"{_names(gone)} went in place of {_names(staying)}, which held no task; what was"
        " running there is finished within worker.drainTimeout, or goes back to the queue",
    )
    return None, missed, (event,)


def _told(
    replicas: Replicas,
    queue: QueueState,
    confirmed: Sequence[PodState],
    victims: Sequence[PodState],
    *,
    count: int,
    asked: int,
    wanted: int,
    spec: OpsAgentWorkerSpec,
) -> tuple[Replicas, str]:
    """The decision as far as it is carried out, and the reason to tell when the rest is."""
    why = replicas.memory.lowering
    if replicas.action in {"ScaleDown", "ScaleUp"}:
        why = replicas.message
    if wanted >= asked:
        if replicas.memory.lowering and replicas.action == "ScaleUp":
            message = f"{replicas.message}, with {asked} still there"
            action = replicas.action if wanted > asked else "Steady"
            replicas = replace(replicas, action=action, message=message)
        return replicas, ""
    if not victims:
        return replicas, ""
    going = {pod.name for pod in confirmed}
    waiting = [pod for pod in victims if pod.name not in going]
    if count == asked:
        message = f"lowering {asked} to {wanted}: {_waiting_for(waiting, queue)}"
        return replace(replicas, action="Hold", reason="Draining", message=message), why
    parts = [why or f"lowering {asked} to {wanted}", *_gone(confirmed, queue, spec)]
    if waiting:
        parts.append(f"{count} until then: {_waiting_for(waiting, queue)}")
    told = replace(replicas, action="ScaleDown", message="; ".join(parts))
    if replicas.action != "ScaleDown":
        told = replace(told, reason="Draining")
    return told, why if waiting else ""


def _gone(
    confirmed: Sequence[PodState], queue: QueueState, spec: OpsAgentWorkerSpec
) -> Iterator[str]:
    """Who goes, and why just these."""
    idle = [pod.name for pod in confirmed if pod.name not in queue.held]
    busy = [pod.name for pod in confirmed if pod.name in queue.held]
    if idle:
        yield f"{_names(idle)} {_goes(idle)}: idle"
    if busy:
        timeout = format_duration(spec.worker.drain_timeout)
        yield f"{_names(busy)} {_goes(busy)}: still busy after drainTimeout {timeout}"


def _waiting_for(waiting: Sequence[PodState], queue: QueueState) -> str:
    """Who is still busy; as long as nobody is known to be, they have only just been marked."""
    busy = [pod for pod in waiting if pod.name in queue.held]
    if not busy:
        return f"{_names(pod.name for pod in waiting)} {_gets(waiting)} no more tasks"
    parts = [f"{pod.name} to finish {_tasks(queue.held[pod.name])}" for pod in busy[:SHOWN]]
    more = f" and {len(busy) - SHOWN} more" if len(busy) > SHOWN else ""
    return f"waiting for {', '.join(parts)}{more}"


def _names(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more


def _goes(names: Sequence[str]) -> str:
    return "goes" if len(names) == 1 else "go"


def _gets(pods: Sequence[PodState]) -> str:
    return "gets" if len(pods) == 1 else "get"


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
