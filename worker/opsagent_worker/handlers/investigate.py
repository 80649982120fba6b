"""`investigate` tasks: one turn of the OODA loop (observe, orient, decide, act) over what the worker can see."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from pydantic import Field

from opsagent_queue import EventPriority, EventType, Snapshot, TaskQueue
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.services import Services
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload

# The checklist this system grew from calls a queue deeper than 100 an alert, statistics slower than 100 ms a bottleneck and
# a response later than 5 minutes too late.
_DEEP_QUEUE: Final = 100
_SLOW_REDIS_MS: Final = 100.0
_LATE_MS: Final = 300_000

Severity = Literal["critical", "warning"]


class InvestigatePayload(Payload):
    issue: str = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    queue: Snapshot
    counters: Mapping[str, int]
    redis_latency_ms: float
    services: Mapping[str, HealthReport]


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Severity
    what: str
    action: str
    """What a person or another agent should do about it."""


@dataclass(frozen=True, slots=True)
class Investigate:
    """The result has one entry for each phase. It acts only by telling: a critical finding publishes `health.degraded`."""

    queue: TaskQueue
    services: Services

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        issue = read_payload(InvestigatePayload, context.task).issue
        observation = await self._observe()
        findings = orient(observation)
        decision = decide(findings)
        acted: list[str] = []
        critical = [finding.what for finding in findings if finding.severity == "critical"]
        if critical:
            await context.emit(
                EventType.HEALTH_DEGRADED,
                {"issue": issue, "findings": critical, "recommended": decision},
                priority=EventPriority.HIGH,
            )
            acted.append("published health.degraded")
        return {
            "issue": issue,
            "observe": _to_result(observation),
            "orient": [asdict(finding) for finding in findings],
            "decide": decision,
            "act": acted,
        }

    async def _observe(self) -> Observation:
        started = time.perf_counter()
        counters = await self.queue.counters()
        latency_ms = round((time.perf_counter() - started) * 1000, 2)
        checks = await asyncio.gather(
            *(self.services.check(name) for name in self.services.targets)
        )
        return Observation(
            queue=await self.queue.snapshot(),
            counters=counters,
            redis_latency_ms=latency_ms,
            services=dict(zip(self.services.targets, checks, strict=True)),
        )


def orient(seen: Observation) -> list[Finding]:
    """What stands out, critical findings first."""
    findings = [
        Finding("critical", f"service {name} is not healthy: {check.detail}", f"restore {name}")
        for name, check in seen.services.items()
        if not check.healthy
    ]
    queue = seen.queue
    if queue.paused:
        findings.append(
            Finding("critical", "the queue is paused: no task is handed out", "resume the worker")
        )
    if queue.oldest_ms is not None and queue.oldest_ms > _LATE_MS:
        minutes = queue.oldest_ms // 60_000
        findings.append(
            Finding("critical", f"a task has been waiting for {minutes} min", "add workers")
        )
    if queue.pending > _DEEP_QUEUE:
        findings.append(Finding("warning", f"{queue.pending} tasks are waiting", "add workers"))
    if queue.dead:
        findings.append(
            Finding("warning", f"{queue.dead} tasks have failed for good", "look at the dead tasks")
        )
    if queue.orphaned:
        findings.append(
            Finding(
                "warning",
                f"{queue.orphaned} queued ids have no readable record",
                "find out what removes task records from Redis",
            )
        )
    if seen.redis_latency_ms > _SLOW_REDIS_MS:
        findings.append(
            Finding("warning", f"Redis took {seen.redis_latency_ms} ms", "look at Redis' load")
        )
    return findings


def decide(findings: Sequence[Finding]) -> str:
    """The action that the most severe finding asks for."""
    return findings[0].action if findings else "nothing to do: everything in sight looks normal"


def _to_result(seen: Observation) -> dict[str, Any]:
    queue = seen.queue
    return {
        "queue": {
            "pending": queue.pending,
            "delayed": queue.delayed,
            "in_flight": queue.in_flight,
            "dead": queue.dead,
            "foreign": queue.foreign,
            "orphaned": queue.orphaned,
            "oldest_ms": queue.oldest_ms,
            "paused": queue.paused,
            "workers": len(queue.workers),
        },
        "counters": dict(seen.counters),
        "redis_latency_ms": seen.redis_latency_ms,
        "services": {name: check.to_result() for name, check in seen.services.items()},
    }
