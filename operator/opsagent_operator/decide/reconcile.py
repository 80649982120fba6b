"""One visit to an object: from what was observed to what is to be done. Read this first."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.decide.conditions import conditions
from opsagent_operator.decide.events import events
from opsagent_operator.decide.heartbeats import silent_since
from opsagent_operator.decide.polls import Polls, next_visit
from opsagent_operator.decide.problem import (
    Problem,
    apply_problem,
    cannot_start,
    pod_problem,
    queue_problem,
)
from opsagent_operator.decide.protection import protection
from opsagent_operator.decide.replicas import Replicas, desired_replicas
from opsagent_operator.decide.rest import at_rest
from opsagent_operator.decide.rollout import (
    current_replicas,
    expired_revisions,
    promote,
    replicas_by_revision,
)
from opsagent_operator.decide.situation import Situation
from opsagent_operator.decide.status import status, status_delay
from opsagent_operator.decide.target import serving_revision, target_revision
from opsagent_operator.decide.trust import learn_start_time
from opsagent_operator.decide.victims import ScaleIn, scale_in
from opsagent_operator.manifests.deployment import deployment
from opsagent_operator.manifests.disruption_budget import disruption_budget
from opsagent_operator.manifests.labels import DELETION_COST
from opsagent_operator.manifests.revision import controller_revision
from opsagent_operator.model.observed import (
    InvalidSpec,
    Observed,
    QueueState,
    Revision,
    Unreachable,
)
from opsagent_operator.model.plan import ObjectKey, Outcome, Plan, PodPatch

__all__ = ["decide"]


def decide(observed: Observed, now: datetime, polls: Polls = Polls()) -> Plan:  # noqa: B008 - a value
    """What to do about one object.

    Args:
        observed: everything known about the object.
        now: the time of the decision, in UTC.
        polls: the longest time until the next visit.
    """
    if observed.worker.deleting:
        # Kubernetes' garbage collector takes the children; making one now would be in its way.
        return Plan(memory=observed.memory)
    spec = observed.worker.spec
    if isinstance(spec, InvalidSpec):
        plan = Plan(memory=observed.memory, requeue_after=polls.idle)
        return _explain(_unreadable(observed, spec), plan, now, polls)

    # 1. Which revision shall run, and is one of its workers ready?
    found = target_revision(observed, spec, now)
    target = promote(found, observed, now) if isinstance(found, Revision) else None
    serving = serving_revision(observed.revisions, target)
    lead = target if serving is None or (target and target.promoted_at) else serving

    # 2. How many workers does the queue need, and of which revision?
    replicas = desired_replicas(
        spec,
        observed.queue,
        current=current_replicas(observed, target),
        memory=learn_start_time(observed.memory, observed.pods),
        now=now,
        cannot_start=cannot_start(lead, observed.pods) if lead else None,
        woken_by=observed.woken_by,
    )
    shares = replicas_by_revision(observed, target, wanted=replicas.count, paused=spec.paused)

    # 3. Who goes, if there are too many?
    promoted = lead if lead is not None and lead.promoted_at is not None else None
    leaving = scale_in(
        observed,
        spec,
        promoted,
        replicas,
        wanted=shares[promoted.name] if promoted else 0,
        now=now,
    )
    if promoted is not None:
        shares = {**shares, promoted.name: leaving.replicas}
    marks, memory = protection(observed, spec, leaving.memory, now)

    # 4. What stands in the way?
    situation = Situation(
        observed=observed,
        target=target,
        serving=serving,
        replicas=leaving.told,
        shares=shares,
        paused=spec.paused,
        problem=found if isinstance(found, Problem) else _problem(observed, spec, found, now),
    )

    # 5. What is to be written?
    expired = expired_revisions(observed, target, limit=spec.release.history_limit)
    plan = Plan(
        pause_intake=_gate(observed, paused=spec.paused),
        drain=leaving.drain,
        pods=tuple(_pod_patches(leaving.costs, marks)),
        apply=tuple(_children(situation, spec, keep_out={revision.name for revision in expired})),
        delete=tuple(_remains(expired)),
        outcome=_outcome(situation, replicas, leaving),
        events=leaving.events,
        memory=memory.updated(
            asked=_asked(situation, replicas), silent_since=silent_since(observed, now)
        ),
        requeue_after=timedelta() if leaving.again else polls.idle,
    )
    return _explain(situation, plan, now, polls)


def _unreadable(observed: Observed, spec: InvalidSpec) -> Situation:
    """Nothing can be decided: what runs goes on as it is."""
    return Situation(
        observed=observed,
        target=None,
        serving=serving_revision(observed.revisions, None),
        replicas=None,
        shares={name: state.replicas for name, state in observed.deployments.items()},
        paused=False,
        problem=Problem(reason="InvalidSpec", message=spec.message, stalled=True),
    )


def _asked(situation: Situation, replicas: Replicas) -> int:
    """The number that the next visit starts from: a first version proves itself with one worker."""
    target = situation.target
    if target is None or situation.lead is not None or situation.paused:
        return replicas.count
    return situation.shares[target.name]


def _pod_patches(
    costs: Mapping[str, int | None], marks: Mapping[str, Mapping[str, str | None]]
) -> Iterator[PodPatch]:
    for name in sorted(costs.keys() | marks.keys()):
        annotations = dict(marks.get(name, {}))
        if name in costs:
            cost = costs[name]
            annotations[DELETION_COST] = None if cost is None else str(cost)
        yield PodPatch(name=name, annotations=annotations)


def _outcome(situation: Situation, replicas: Replicas, leaving: ScaleIn) -> Outcome:
    queue = situation.observed.queue
    return Outcome(
        action=leaving.told.action,
        reason=leaving.told.reason,
        wanted=replicas.wanted,
        current=replicas.current,
        desired=replicas.count,
        ready=situation.ready,
        busy=queue.busy_workers if isinstance(queue, QueueState) else None,
        draining=len(leaving.memory.draining_since),
        victims_chosen=leaving.chosen,
        victims_missed=leaving.missed,
    )


def _problem(
    observed: Observed, spec: OpsAgentWorkerSpec, target: Revision, now: datetime
) -> Problem | None:
    """The first thing that is wrong, causes before effects."""
    if observed.apply_error is not None:
        return apply_problem(observed.apply_error)
    if isinstance(observed.queue, Unreachable):
        return queue_problem(observed.queue)
    return pod_problem(target, observed.pods, deadline=spec.release.progress_deadline, now=now)


def _gate(observed: Observed, *, paused: bool) -> bool | None:
    """What the gate in Redis shall say, if there is one that can be reached and says something else."""
    queue = observed.queue
    if isinstance(queue, QueueState) and queue.task_aware and queue.paused != paused:
        return paused
    return None


def _children(
    situation: Situation, spec: OpsAgentWorkerSpec, *, keep_out: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Manifests in the order that never leaves less running than needed: what grows comes first."""
    worker, target = situation.observed.worker, situation.target
    revisions = {revision.name: revision for revision in situation.observed.revisions}
    if target is not None:
        revisions[target.name] = target
        yield controller_revision(worker, target)
    existing = situation.observed.deployments

    def growth(name: str) -> tuple[int, str]:
        running = existing[name].replicas if name in existing else 0
        return running - situation.shares[name], name

    for name in sorted(situation.shares, key=growth):
        # The Deployment of a retired revision stays at zero; one that was deleted is not missed.
        if name in keep_out or (name not in existing and situation.shares[name] == 0):
            continue
        yield deployment(
            worker,
            revisions[name],
            replicas=situation.shares[name],
            progress_deadline=spec.release.progress_deadline,
        )
    if existing or any(situation.shares.values()):
        yield disruption_budget(worker, max_unavailable=spec.disruption.max_unavailable)


def _remains(expired: tuple[Revision, ...]) -> Iterator[ObjectKey]:
    for revision in expired:
        yield ObjectKey(kind="Deployment", name=revision.name)
        yield ObjectKey(kind="ControllerRevision", name=revision.name)


def _explain(situation: Situation, plan: Plan, now: datetime, polls: Polls) -> Plan:
    """The plan with the status and the events that tell it, and the time of the next visit at last."""
    observed = situation.observed
    after = status(situation, conditions(situation, now), now)
    delay = status_delay(
        observed.worker.status, after, written_at=plan.memory.status_written_at, now=now
    )
    pause = min(plan.requeue_after, next_visit(situation, plan.memory, polls, now))
    if delay is None:
        return replace(plan, requeue_after=pause, at_rest=at_rest(situation, plan))
    if delay > timedelta():
        return replace(plan, requeue_after=min(pause, delay))
    return replace(
        plan,
        status=after,
        events=(*events(situation, after), *plan.events),
        memory=replace(plan.memory, status_written_at=now),
        requeue_after=pause,
    )
