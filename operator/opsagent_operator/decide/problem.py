"""What keeps an object from being as it should, in the order in which a cause hides its effects."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from opsagent_operator.api.duration import format_duration
from opsagent_operator.model.observed import PodState, Revision, Unreachable

__all__ = [
    "Problem",
    "apply_problem",
    "cannot_start",
    "overdue_at",
    "pod_problem",
    "queue_problem",
]

QUOTE_LIMIT = 300
"""Characters of somebody else's message that are shown; the rest is in `kubectl describe pod`."""

IMAGE_REASONS = frozenset(
    {
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RegistryUnavailable",
    }
)
CONTAINER_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
CONFIGURATION_REASONS = frozenset(
    {
        "AuthenticationFailed",
        "InvalidURL",
        "SecretForbidden",
        "SecretKeyMissing",
        "SecretNotFound",
        "WrongType",
    }
)
"""Reasons for an unknown queue that only a person can end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong."""

    reason: str
    """CamelCase, stable, documented in docs/status.md; the STATUS column shows it."""
    message: str
    """What is wrong, and what to do about it."""
    stalled: bool
    """Whether it stays until somebody changes something."""


def apply_problem(refusal: str) -> Problem:
    """The API server refuses a child (invalid, over quota, against a policy): `refusal` says why."""
    return Problem(
        reason="ApplyFailed",
        message=f"the API server refuses what the operator writes{_quote(refusal)}; change the spec,"
        " or what forbids it",
        stalled=True,
    )


def queue_problem(unknown: Unreachable) -> Problem:
    """The queue cannot be read, so nobody can say whether tasks are served."""
    return Problem(
        reason="QueueUnreachable",
        message=unknown.message,
        stalled=unknown.reason in CONFIGURATION_REASONS,
    )


def pod_problem(
    revision: Revision, pods: Iterable[PodState], *, deadline: timedelta, now: datetime
) -> Problem | None:
    """Why workers of `revision` are not ready, as far as their pods can tell.

    Args:
        revision: the revision that should run.
        pods: pods of any revision.
        deadline: the time a worker has to become ready.
        now: the time of the decision.
    """
    waiting = _waiting(revision, pods)
    overdue = bool(waiting) and now >= waiting[0].created_at + deadline
    for check in (_image, _container, _crash, _unschedulable):
        for pod in waiting:
            if problem := check(revision, pod, overdue=overdue):
                return problem
    if overdue:
        return Problem(
            reason="ProgressDeadlineExceeded",
            message=f"{revision.version} has a worker, {waiting[0].name}, that is not ready after"
            f" {format_duration(deadline)} (release.progressDeadline); see its log",
            stalled=True,
        )
    return None


def overdue_at(
    revision: Revision, pods: Iterable[PodState], *, deadline: timedelta
) -> datetime | None:
    """When the first worker of `revision` that is not ready should be; None when all are."""
    waiting = _waiting(revision, pods)
    return waiting[0].created_at + deadline if waiting else None


def cannot_start(revision: Revision, pods: Iterable[PodState]) -> str | None:
    """How many workers of `revision` cannot start, as text; None unless it is half of them or more.

    Then more of them would not start either. Of fewer, one may only have got a bad node.
    """
    workers = [pod for pod in pods if pod.revision == revision.name and not _leaves(pod)]
    failing = sum(not pod.ready and _fails(pod) for pod in workers)
    if failing == 0 or 2 * failing < len(workers):
        return None
    return (
        f"{failing} of {len(workers)} {'worker' if len(workers) == 1 else 'workers'} cannot start"
    )


def _fails(pod: PodState) -> bool:
    return (
        pod.waiting_reason in IMAGE_REASONS
        or pod.waiting_reason in CONTAINER_REASONS
        or pod.waiting_reason == "CrashLoopBackOff"
        or pod.exit_message is not None
        or pod.unschedulable_message is not None
    )


def _leaves(pod: PodState) -> bool:
    return pod.deleting or pod.ended


def _waiting(revision: Revision, pods: Iterable[PodState]) -> list[PodState]:
    """Workers of `revision` that are not ready, the one that has waited longest first."""
    return sorted(
        (
            pod
            for pod in pods
            if pod.revision == revision.name and not pod.ready and not _leaves(pod)
        ),
        key=lambda pod: (pod.created_at, pod.name),
    )


def _image(revision: Revision, pod: PodState, *, overdue: bool) -> Problem | None:
    del overdue  # a missing image does not get better by waiting
    if pod.waiting_reason not in IMAGE_REASONS:
        return None
    return Problem(
        reason="ImagePullFailed",
        message=f"{revision.version} cannot start: its image {revision.image} cannot be pulled"
        f"{_quote(pod.waiting_message)}; check that the tag is pushed and that image.pullSecrets"
        " may read it",
        stalled=True,
    )


def _container(revision: Revision, pod: PodState, *, overdue: bool) -> Problem | None:
    del overdue
    if pod.waiting_reason not in CONTAINER_REASONS:
        return None
    return Problem(
        reason="ContainerConfigError",
        message=f"{revision.version} cannot start: the container of {pod.name} cannot be made"
        f"{_quote(pod.waiting_message)}; check spec.worker and the Secrets that it names",
        stalled=True,
    )


def _crash(revision: Revision, pod: PodState, *, overdue: bool) -> Problem | None:
    if pod.exit_message is None and pod.waiting_reason != "CrashLoopBackOff":
        return None
    return Problem(
        reason="WorkerCrashing",
        message=f"{revision.version} does not stay up: {pod.name} restarted"
        f" {_times(pod.restarts)}{_quote(pod.exit_message)}",
        stalled=overdue or pod.waiting_reason == "CrashLoopBackOff",
    )


def _unschedulable(revision: Revision, pod: PodState, *, overdue: bool) -> Problem | None:
    if pod.unschedulable_message is None:
        return None
    return Problem(
        reason="Unschedulable",
        message=f"{revision.version}: no node takes {pod.name}{_quote(pod.unschedulable_message)}",
        stalled=overdue,
    )


def _quote(text: str | None) -> str:
    """Somebody else's words, on one line and short."""
    line = " ".join((text or "").split())
    if not line:
        return ""
    short = line if len(line) <= QUOTE_LIMIT else line[: QUOTE_LIMIT - 1] + "…"
    return f" ({short})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
