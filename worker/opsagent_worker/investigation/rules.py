"""The table of rules: each looks at an observation and names what stands out. Pure; time is part of the observation."""

from collections.abc import Callable, Iterator
from typing import Final

from opsagent_queue import Snapshot
from opsagent_worker.checks.result import HealthReport, HealthStatus
from opsagent_worker.investigation.correlation import (
    deployments_before_failures,
    failed_deployments,
    failing_versions,
    shared_errors,
    shared_hosts,
)
from opsagent_worker.investigation.finding import Action, Finding, ranked
from opsagent_worker.investigation.observation import Observation, Unseen

Rule = Callable[[Observation], Iterator[Finding]]

# The checklist this system grew from calls a queue deeper than 100 an alert, statistics slower than 100 ms a bottleneck and
# a response later than 5 minutes too late.
_DEEP_QUEUE: Final = 100
_SLOW_REDIS_MS: Final = 100.0
_LATE_MS: Final = 300_000


def orient(seen: Observation) -> list[Finding]:
    """Everything the rules find, the most important first."""
    return ranked([finding for rule in RULES for finding in rule(seen)])


def ill_services(seen: Observation) -> Iterator[Finding]:
    if isinstance(seen.services, Unseen):
        return
    for name, report in seen.services.items():
        if report.status is HealthStatus.HEALTHY:
            continue
        unhealthy = report.status is HealthStatus.UNHEALTHY
        yield Finding(
            rule="ill_services",
            severity="critical" if unhealthy else "warning",
            confidence=1.0,
            what=f"service {name} is {report.status}: {report.detail}",
            evidence=tuple(check.detail for check in report.checks),
            action=_cure(name, report),
        )


def _cure(name: str, report: HealthReport) -> Action:
    ill = [check.kind for check in report.checks if check.status is not HealthStatus.HEALTHY]
    if "certificate" in ill:
        return Action(
            kind="renew_certificate",
            what=f"renew the certificate of {name}",
            parameters={"service": name},
        )
    return Action(kind="restore_service", what=f"restore {name}", parameters={"service": name})


def _queue(seen: Observation) -> Snapshot | None:
    return None if isinstance(seen.queue, Unseen) else seen.queue


def paused_queue(seen: Observation) -> Iterator[Finding]:
    queue = _queue(seen)
    if queue is not None and queue.paused:
        yield Finding(
            rule="paused_queue",
            severity="critical",
            confidence=1.0,
            what="the queue is paused: no task is handed out",
            action=Action(kind="resume_queue", what="resume the worker"),
        )


def late_tasks(seen: Observation) -> Iterator[Finding]:
    queue = _queue(seen)
    if queue is None or queue.oldest_ms is None or queue.oldest_ms <= _LATE_MS or queue.paused:
        return
    yield Finding(
        rule="late_tasks",
        severity="critical",
        confidence=0.8,
        what=f"a task has been waiting for {queue.oldest_ms // 60_000} min",
        evidence=(f"{queue.pending} waiting", f"{len(queue.workers)} workers"),
        action=Action(kind="add_workers", what="add workers"),
    )


def deep_queue(seen: Observation) -> Iterator[Finding]:
    queue = _queue(seen)
    if queue is None or queue.pending <= _DEEP_QUEUE:
        return
    yield Finding(
        rule="deep_queue",
        severity="warning",
        confidence=0.7,
        what=f"{queue.pending} tasks are waiting",
        evidence=(f"{len(queue.workers)} workers",),
        action=Action(kind="add_workers", what="add workers"),
    )


def dead_letters(seen: Observation) -> Iterator[Finding]:
    queue = _queue(seen)
    if queue is None or not queue.dead:
        return
    are = "task has" if queue.dead == 1 else "tasks have"
    yield Finding(
        rule="dead_letters",
        severity="warning",
        confidence=0.5,
        what=f"{queue.dead} {are} failed for good",
        action=Action(kind="look_at_dead_letters", what="look at the dead letters"),
    )


def lost_records(seen: Observation) -> Iterator[Finding]:
    queue = _queue(seen)
    if queue is None or not queue.orphaned:
        return
    ids = "id has" if queue.orphaned == 1 else "ids have"
    yield Finding(
        rule="lost_records",
        severity="warning",
        confidence=0.9,
        what=f"{queue.orphaned} queued {ids} no readable record",
        action=Action(
            kind="find_what_removes_records",
            what="find out what removes task records from Redis",
        ),
    )


def slow_redis(seen: Observation) -> Iterator[Finding]:
    report = None if isinstance(seen.services, Unseen) else seen.services.get("redis")
    if report is None or report.latency_ms is None or report.latency_ms <= _SLOW_REDIS_MS:
        return
    yield Finding(
        rule="slow_redis",
        severity="warning",
        confidence=0.6,
        what=f"Redis took {report.latency_ms:g} ms",
        action=Action(kind="relieve_redis", what="look at Redis' load"),
    )


def blind_spots(seen: Observation) -> Iterator[Finding]:
    for part, reason in seen.unseen().items():
        yield Finding(
            rule="blind_spots",
            severity="warning",
            confidence=0.3,
            what=f"{part} could not be seen: {reason}",
            action=Action(kind="look_again", what=f"find out why {part} could not be seen"),
        )


RULES: Final[tuple[Rule, ...]] = (
    ill_services,
    paused_queue,
    failing_versions,
    deployments_before_failures,
    failed_deployments,
    shared_hosts,
    shared_errors,
    late_tasks,
    deep_queue,
    lost_records,
    dead_letters,
    slow_redis,
    blind_spots,
)
