"""What an investigation sees. What could not be seen is part of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from opsagent_queue import Results, Snapshot
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.vercel import Deployment

_SAMPLES: Final = 5
_LONGEST_ERROR: Final = 300


@dataclass(frozen=True, slots=True)
class Unseen:
    """It was looked at in vain."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that failed for good."""

    task_id: str
    type: str
    version: str
    error: str
    error_class: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Each part may be `Unseen`."""

    now: datetime
    window: timedelta
    """How far back failures and deployments were looked at."""
    services: Mapping[str, HealthReport] | Unseen = field(default_factory=dict)
    queue: Snapshot | Unseen = Unseen("not looked at")
    counters: Mapping[str, int] | Unseen = field(default_factory=dict)
    failures: Sequence[Failure] | Unseen = ()
    """The latest first."""
    versions: Mapping[str, Results] | Unseen = field(default_factory=dict)
    """What each version of the worker has finished within the window (two hours at most)."""
    deployments: Sequence[Deployment] | Unseen | None = None
    """The latest first; None where Vercel is not configured."""

    def unseen(self) -> Mapping[str, str]:
        """The parts that could not be seen, with the reason."""
        parts = {
            "services": self.services,
            "the queue": self.queue,
            "counters": self.counters,
            "failures": self.failures,
            "results by version": self.versions,
            "deployments": self.deployments,
        }
        return {name: part.reason for name, part in parts.items() if isinstance(part, Unseen)}

    def to_result(self) -> dict[str, Any]:
        return {
            "window_minutes": round(self.window.total_seconds() / 60),
            "services": _told(
                self.services,
                lambda services: {name: _service(report) for name, report in services.items()},
            ),
            "queue": _told(self.queue, _queue),
            "counters": _told(self.counters, dict),
            "failures": _told(self.failures, _failures),
            "versions": _told(
                self.versions,
                lambda versions: {name: _results(results) for name, results in versions.items()},
            ),
            "deployments": _told(
                self.deployments, lambda deployments: [_deployment(one) for one in deployments]
            ),
        }


def attempts(results: Results) -> int:
    return results.ok + bad_attempts(results)


def bad_attempts(results: Results) -> int:
    """Those that failed, whether or not another one followed, and those whose worker died."""
    return results.failed + results.retried + results.crashed


def _told(part: Any, tell: Any) -> Any:
    match part:
        case None:
            return None
        case Unseen(reason):
            return {"unseen": reason}
        case _:
            return tell(part)


def _service(report: HealthReport) -> dict[str, Any]:
    return {
        "status": report.status.value,
        "latency_ms": report.latency_ms,
        "detail": report.detail,
    }


def _queue(queue: Snapshot) -> dict[str, Any]:
    return {
        "pending": queue.pending,
        "delayed": queue.delayed,
        "in_flight": queue.in_flight,
        "dead": queue.dead,
        "foreign": queue.foreign,
        "orphaned": queue.orphaned,
        "oldest_ms": queue.oldest_ms,
        "paused": queue.paused,
        "workers": len(queue.workers),
    }


def _failures(failures: Sequence[Failure]) -> dict[str, Any]:
    times = [failure.at for failure in failures if failure.at is not None]
    return {
        "count": len(failures),
        "by_error_class": Counter(failure.error_class for failure in failures),
        "by_type": Counter(failure.type for failure in failures),
        "by_version": Counter(failure.version for failure in failures),
        "first": min(times).isoformat() if times else None,
        "last": max(times).isoformat() if times else None,
        "samples": [
            {"task_id": failure.task_id, "error": failure.error[:_LONGEST_ERROR]}
            for failure in failures[:_SAMPLES]
        ],
    }


def _results(results: Results) -> dict[str, int]:
    return {
        "ok": results.ok,
        "failed": results.failed,
        "retried": results.retried,
        "crashed": results.crashed,
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        "project": deployment.name,
        "deployment_id": deployment.id,
        "target": deployment.target,
        "state": deployment.ready_state,
        "created_at": deployment.created_at,
    }
