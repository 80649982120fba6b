"""Rules about what changed: do failures go with a version, a deployment, a host, an error? Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from opsagent_worker.checks.result import HealthStatus
from opsagent_worker.investigation.finding import Action, Finding
from opsagent_worker.investigation.observation import (
    Failure,
    Observation,
    Unseen,
    attempts,
    bad_attempts,
)
from opsagent_worker.vercel import Deployment

_FEW: Final = 3
"""Fewer failures than this are chance."""

_MOST_OF_THEM: Final = 0.6

_ENOUGH_ATTEMPTS: Final = 5
"""Fewer attempts than this say nothing about a version."""

_BAD_SHARE: Final = 0.1
"""The checklist this system grew from alerts above 10 % errors."""

_TELLING_DIFFERENCE: Final = 0.3
"""Between the shares of two versions' bad attempts: below it, both may have the same trouble."""

_SOON_AFTER: Final = timedelta(minutes=30)

_HOST: Final = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?", re.IGNORECASE)


def failing_versions(seen: Observation) -> Iterator[Finding]:
    """A version of the worker that fails much more often than another one, or all alone fails often."""
    if isinstance(seen.versions, Unseen):
        return
    shares = {
        version: bad_attempts(results) / attempts(results)
        for version, results in seen.versions.items()
        if attempts(results) >= _ENOUGH_ATTEMPTS
    }
    if not shares:
        return
    worst, best = max(shares, key=lambda v: shares[v]), min(shares, key=lambda v: shares[v])
    evidence = tuple(f"{version}: {share:.0%} bad" for version, share in shares.items())
    difference = shares[worst] - shares[best]
    if difference >= _TELLING_DIFFERENCE:
        yield Finding(
            rule="failing_versions",
            severity="critical",
            confidence=round(min(0.95, 0.5 + difference / 2), 2),
            what=f"version {worst} of the worker fails where {best} does not",
            evidence=evidence,
            action=Action(
                kind="roll_back_worker",
                what=f"roll the worker back from {worst} to {best}",
                parameters={"from_version": worst, "to_version": best},
            ),
        )
    elif shares[worst] > _BAD_SHARE:
        yield Finding(
            rule="failing_versions",
            severity="warning",
            confidence=0.5,
            what=f"{shares[worst]:.0%} of the attempts of version {worst} go wrong",
            evidence=evidence,
            action=Action(kind="look_at_error", what="look at the errors of the failed tasks"),
        )


def deployments_before_failures(seen: Observation) -> Iterator[Finding]:
    """The latest production deployment of a project went live shortly before trouble began."""
    trouble = _trouble_began(seen)
    if trouble is None or not isinstance(seen.deployments, Sequence):
        return
    for deployment in _latest_live(seen.deployments):
        live = _moment(deployment.ready_at or deployment.created_at)
        if live is None or not timedelta(0) <= trouble - live <= _SOON_AFTER:
            continue
        # The sooner, the likelier; what is ill is a service of the project's name, the likelier still.
        delay = (trouble - live) / _SOON_AFTER
        confidence = 0.75 - 0.35 * delay + 0.2 * (deployment.name in _ill(seen))
        yield Finding(
            rule="deployments_before_failures",
            severity="critical",
            confidence=round(confidence, 2),
            what=(
                f"deployment {deployment.id} of {deployment.name} went live "
                f"{_minutes(trouble - live)} before trouble began"
            ),
            evidence=(f"live since {live.isoformat()}", f"trouble since {trouble.isoformat()}"),
            action=Action(
                kind="roll_back_deployment",
                what=f"roll {deployment.name} back to the deployment before {deployment.id}",
                parameters={
                    "project": deployment.name or "",
                    "deployment_id": deployment.id,
                },
            ),
        )


def failed_deployments(seen: Observation) -> Iterator[Finding]:
    """The latest deployment of a project has failed."""
    if not isinstance(seen.deployments, Sequence):
        return
    for deployment in _latest(seen.deployments):
        if deployment.ended_badly:
            reason = deployment.error_message or deployment.error_code or "no reason is known"
            yield Finding(
                rule="failed_deployments",
                severity="warning",
                confidence=0.6,
                what=f"the latest deployment of {deployment.name} ended as {deployment.ready_state}",
                evidence=(reason,),
                action=Action(
                    kind="look_at_deployment",
                    what=f"look at the build of deployment {deployment.id}",
                    parameters={"deployment_id": deployment.id},
                ),
            )


def shared_hosts(seen: Observation) -> Iterator[Finding]:
    """Most failures name the same host."""
    failures = _failures(seen)
    hosts = Counter(
        host
        for failure in failures
        for host in {match.lower() for match in _HOST.findall(failure.error)}
    )
    for host, count in hosts.most_common(1):
        if count < _FEW or count < _MOST_OF_THEM * len(failures):
            continue
        yield Finding(
            rule="shared_hosts",
            severity="warning",
            confidence=round(0.8 * count / len(failures), 2),
            what=f"{count} of {len(failures)} failures name {host}",
            evidence=_examples([one for one in failures if host in one.error.lower()]),
            action=Action(
                kind="check_dependency",
                what=f"find out what is wrong with {host}",
                parameters={"host": host},
            ),
        )


def shared_errors(seen: Observation) -> Iterator[Finding]:
    """Most failures are of the same kind."""
    failures = _failures(seen)
    kinds = Counter((failure.error_class, failure.type) for failure in failures)
    for (error_class, task_type), count in kinds.most_common(1):
        if count < _FEW or count < _MOST_OF_THEM * len(failures):
            continue
        yield Finding(
            rule="shared_errors",
            severity="warning",
            confidence=round(0.6 * count / len(failures), 2),
            what=f"{count} of {len(failures)} failures are {error_class} of {task_type} tasks",
            evidence=_examples([one for one in failures if one.error_class == error_class]),
            action=Action(
                kind="look_at_error",
                what=f"look at why {task_type} tasks end with {error_class}",
                parameters={"task_type": task_type, "error_class": error_class},
            ),
        )


def _failures(seen: Observation) -> Sequence[Failure]:
    return () if isinstance(seen.failures, Unseen) else seen.failures


def _ill(seen: Observation) -> set[str | None]:
    """Names of the services that are unhealthy."""
    if isinstance(seen.services, Unseen):
        return set()
    return {
        name for name, report in seen.services.items() if report.status is HealthStatus.UNHEALTHY
    }


def _trouble_began(seen: Observation) -> datetime | None:
    """When failures began; now, if something is ill and none is known; None if all is well."""
    times = sorted(failure.at for failure in _failures(seen) if failure.at is not None)
    if len(times) >= _FEW:
        return times[0]
    return seen.now if _ill(seen) else None


def _latest_live(deployments: Sequence[Deployment]) -> list[Deployment]:
    live = [one for one in deployments if one.ready and one.target == "production"]
    return _latest(live)


def _latest(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Of each project the latest, which comes first."""
    first: dict[str | None, Deployment] = {}
    for deployment in deployments:
        first.setdefault(deployment.name, deployment)
    return list(first.values())


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


def _minutes(length: timedelta) -> str:
    return f"{round(length.total_seconds() / 60)} min"


def _examples(failures: Sequence[Failure]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(failure.error[:200] for failure in failures))[:3]
