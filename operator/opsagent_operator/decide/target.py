"""Which revision shall run."""

from dataclasses import replace
from datetime import datetime

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.decide.problem import Problem
from opsagent_operator.manifests.revision import new_revision, revision_name
from opsagent_operator.model.observed import Observed, Revision

__all__ = ["serving_revision", "target_revision"]


def target_revision(
    observed: Observed, spec: OpsAgentWorkerSpec, now: datetime
) -> Revision | Problem:
    """The revision that `spec` asks for: an earlier one as it was, or a new one.

    A revision that was not the latest target gets the next number and has to prove itself again:
    its image may have gone since.
    """
    latest = max((revision.number for revision in observed.revisions), default=0)
    wanted = _pinned(observed, spec)
    if isinstance(wanted, Problem):
        return wanted
    if wanted is None:
        version = spec.pin.version if spec.pin and spec.pin.version else spec.version
        name = revision_name(observed.worker.name, spec, version=version)
        wanted = next((known for known in observed.revisions if known.name == name), None)
        if wanted is None:
            return new_revision(
                namespace=observed.worker.namespace,
                name=observed.worker.name,
                spec=spec,
                version=version,
                number=latest + 1,
                now=now,
            )
    if wanted.number == latest:
        return wanted
    return replace(wanted, number=latest + 1, promoted_at=None)


def _pinned(observed: Observed, spec: OpsAgentWorkerSpec) -> Revision | Problem | None:
    """The recorded revision that the pin names; None when there is no pin or no such version yet."""
    if spec.pin is None:
        return None
    if spec.pin.revision is not None:
        for revision in observed.revisions:
            if revision.name == spec.pin.revision:
                return revision
        known = ", ".join(sorted(revision.name for revision in observed.revisions)) or "none"
        return Problem(
            reason="RevisionNotFound",
            stalled=True,
            message=f"spec.pin.revision names {spec.pin.revision}, which is not in the history"
            f" (known: {known}); pin one of these, pin a version, or remove the pin",
        )
    same_version = [known for known in observed.revisions if known.version == spec.pin.version]
    return max(same_version, key=lambda known: known.number, default=None)


def serving_revision(revisions: tuple[Revision, ...], target: Revision | None) -> Revision | None:
    """The revision that serves while `target` has not proved itself: the last one that did."""
    promoted = [
        revision
        for revision in revisions
        if revision.promoted_at is not None and (target is None or revision.name != target.name)
    ]
    return max(promoted, key=lambda revision: revision.number, default=None)
