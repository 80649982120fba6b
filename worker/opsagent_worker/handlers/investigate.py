"""`investigate` tasks: one turn of the OODA loop (observe, orient, decide, act) over what the worker can see."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from msgspec import structs
from pydantic import BeforeValidator, Field

from opsagent_queue import EventPriority, EventType, QueueError, Source, Task, TaskQueue, TaskType
from opsagent_worker.durations import parse_duration
from opsagent_worker.errors import RetryableError
from opsagent_worker.handlers.context import TaskContext
from opsagent_worker.handlers.payload import Payload, read_payload
from opsagent_worker.investigation.finding import ROLLBACKS, Decision, Finding, decide
from opsagent_worker.investigation.observer import Observer
from opsagent_worker.investigation.rules import orient

_NAMESPACE: Final = uuid.UUID("6f0b0b53-6f6e-4c2c-8b0f-5f3b3f2f9d1c")
"""Of the ids of alert tasks: each investigation has one, however often it is run."""

_SEVERITIES: Final = {"critical": "critical", "warning": "medium", None: "low"}

Window = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(ge=timedelta(minutes=1), le=timedelta(hours=24)),
]


class InvestigatePayload(Payload):
    issue: str = Field(min_length=1)
    project: str | None = Field(default=None, min_length=1)
    """Whose deployments are looked at; None: the whole team's."""
    window: Window = timedelta(hours=1)
    notify: bool = False


@dataclass(frozen=True, slots=True)
class Investigate:
    """The result has one entry for each phase, with how long it took.

    It acts by telling only: events, and an `alert` task if the payload says `notify`. A rollback is proposed, never made.
    """

    observer: Observer
    queue: TaskQueue

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        payload = read_payload(InvestigatePayload, context.task)
        started = time.perf_counter()
        context.progress(0.0, "observing")
        seen = await self.observer.observe(window=payload.window, project=payload.project)
        observed = time.perf_counter()
        context.progress(0.8, "making sense of it")
        findings = orient(seen)
        oriented = time.perf_counter()
        decision = decide(findings)
        decided = time.perf_counter()
        acts = await self._act(context, payload, findings, decision)
        ended = time.perf_counter()
        context.log.info("investigated", findings=len(findings), decision=decision.action.kind)
        return {
            "issue": payload.issue,
            "observe": {"seconds": _round(observed - started), **seen.to_result()},
            "orient": {
                "seconds": _round(oriented - observed),
                "findings": [finding.to_result() for finding in findings],
            },
            "decide": {"seconds": _round(decided - oriented), **decision.to_result()},
            "act": {"seconds": _round(ended - decided), "done": acts},
        }

    async def _act(
        self,
        context: TaskContext,
        payload: InvestigatePayload,
        findings: list[Finding],
        decision: Decision,
    ) -> list[str]:
        done = []
        critical = [finding.what for finding in findings if finding.severity == "critical"]
        if critical:
            await context.emit(
                EventType.HEALTH_DEGRADED,
                {
                    "issue": payload.issue,
                    "findings": critical,
                    "recommended": decision.action.what,
                },
                priority=EventPriority.HIGH,
            )
            done.append("published health.degraded")
        if decision.action.kind in ROLLBACKS:
            await context.emit(
                EventType.ALERT_TRIGGERED,
                {
                    "alert_type": "rollback_proposed",
                    "severity": "critical",
                    "message": decision.action.what,
                    "issue": payload.issue,
                    "reason": decision.reason,
                    "confidence": decision.confidence,
                    "kind": decision.action.kind,
                    **decision.action.parameters,
                },
                priority=EventPriority.CRITICAL,
            )
            done.append("proposed a rollback")
        if payload.notify:
            alert = alert_task(context.task, payload.issue, decision)
            await self._enqueue(alert)
            done.append(f"queued alert task {alert.task_id}")
        return done

    async def _enqueue(self, alert: Task) -> None:
        """An attempt before this one may have done it: then nothing happens."""
        try:
            await self.queue.enqueue(alert)
        except QueueError as error:
            raise RetryableError(f"the alert task could not be queued: {error}") from error


def alert_task(task: Task, issue: str, decision: Decision) -> Task:
    """What tells people of the decision about `task`. Its id follows from the task's."""
    action = decision.action
    alert = Task.new(
        type=TaskType.ALERT,
        priority=task.priority,
        source=Source.OPS,
        assigned_to=task.assigned_to,
        payload={
            "alert_type": "investigation",
            "severity": _SEVERITIES[decision.severity],
            "message": f"{issue}: {decision.reason}. Recommended: {action.what}",
            "source": "opsagent",
            "details": {
                "recommended": action.kind,
                "confidence": f"{decision.confidence:.0%}",
                **action.parameters,
            },
        },
    )
    return structs.replace(
        alert,
        task_id=str(uuid.uuid5(_NAMESPACE, task.task_id)),
        trace_id=task.trace_id,
        parent_task_id=task.task_id,
    )


def _round(seconds: float) -> float:
    return round(seconds, 4)
