"""How the replicas are divided between revisions while one takes over from another.

A new revision comes up beside the old one. It starts with one worker, whose readiness is the proof
that the release can run at all; then it is *promoted*, gets all replicas, and when as many of its
workers are ready as the old ones had, the old ones go. A release that cannot start costs one pod
and no task: the last promoted revision keeps serving, and keeps scaling.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from opsagent_operator.decide.target import serving_revision
from opsagent_operator.model.observed import DeploymentState, Observed, Revision

__all__ = ["current_replicas", "expired_revisions", "promote", "replicas_by_revision"]

_NONE = DeploymentState(replicas=0, ready=0)


def promote(target: Revision, observed: Observed, now: datetime) -> Revision:
    """The target, promoted if one of its workers is ready now."""
    if target.promoted_at is not None or observed.deployments.get(target.name, _NONE).ready == 0:
        return target
    return replace(target, promoted_at=now)


def current_replicas(observed: Observed, target: Revision | None) -> int:
    """Replicas asked for until now.

    What the last visit asked for counts, not what a Deployment happens to say: that has more while
    workers are being drained, and anything after an edit by hand. An operator that has just started
    asks the Deployment of whichever revision had the say; the one worker with which a revision
    proves itself beside a serving one does not count.
    """
    if observed.memory.asked is not None:
        return observed.memory.asked
    alone = serving_revision(observed.revisions, target) is None
    return max(
        (
            observed.deployments.get(revision.name, _NONE).replicas
            for revision in observed.revisions
            if revision.promoted_at is not None
            or (alone and target is not None and revision.name == target.name)
        ),
        default=0,
    )


def replicas_by_revision(
    observed: Observed, target: Revision | None, *, wanted: int, paused: bool
) -> Mapping[str, int]:
    """Replicas for each revision, the target's included; `wanted` is what the queue needs in all."""
    serving = serving_revision(observed.revisions, target)
    lead = target if target is not None and target.promoted_at is not None else serving
    result = {revision.name: 0 for revision in observed.revisions}
    if target is not None:
        result[target.name] = 0
    if paused:
        return result
    if lead is not None:
        result.update(_still_needed(observed, lead, target, wanted=wanted))
        result[lead.name] = wanted
    if target is not None and target is not lead:
        # One worker is the proof; with nobody else to serve, the proof may as well be all of them.
        result[target.name] = 1 if lead is not None else max(1, wanted)
    return result


def _still_needed(
    observed: Observed, lead: Revision, target: Revision | None, *, wanted: int
) -> Mapping[str, int]:
    """Earlier revisions whose workers stay until the lead's are ready in their place."""
    running = {
        revision.name: observed.deployments.get(revision.name, _NONE).replicas
        for revision in observed.revisions
        if revision.promoted_at is not None
        and revision.name != lead.name
        and (target is None or revision.name != target.name)
    }
    ready = observed.deployments.get(lead.name, _NONE).ready
    replaced = ready >= min(wanted, sum(running.values()))
    return {} if replaced else running


def expired_revisions(
    observed: Observed, target: Revision | None, *, limit: int
) -> tuple[Revision, ...]:
    """Revisions beyond the newest `limit` old ones, which nothing runs and nothing may return to."""
    promoted = target is not None and target.promoted_at is not None
    serving = None if promoted else serving_revision(observed.revisions, target)
    kept = {revision.name for revision in (target, serving) if revision is not None}
    old = sorted(
        (revision for revision in observed.revisions if revision.name not in kept),
        key=lambda revision: revision.number,
        reverse=True,
    )
    alive = {pod.revision for pod in observed.pods}
    return tuple(
        revision
        for revision in old[limit:]
        if revision.name not in alive
        and observed.deployments.get(revision.name, _NONE).replicas == 0
    )
