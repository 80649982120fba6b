"""The worker's Prometheus metrics, on a registry of their own."""

from typing import Final

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

# A task takes from milliseconds (an alert) to minutes (a build).
_RUN_BUCKETS: Final = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_WAIT_BUCKETS: Final = (0.005, 0.025, 0.1, 0.5, 1, 5, 15, 30, 60, 300, 900, 3600)
_LAG_BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10)

# Classes are made by programmers, not by input, so this bound is only met by code that makes them as it runs.
_MOST_ERROR_CLASSES: Final = 50
OTHER: Final = "other"


class TypeMetrics(msgspec.Struct, frozen=True):
    """The children for one type of task, looked up once: `labels()` costs more than counting."""

    claimed: Counter
    completed: Counter
    cancelled: Counter
    run_seconds: Histogram
    wait_seconds: Histogram


class Metrics:
    """Every metric the worker exports. `type` is the task's type, or `other` for one without a handler."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._types: dict[str, TypeMetrics] = {}
        self._error_classes: set[str] = set()

        self.claimed = self._counter("tasks_claimed", "Tasks taken from the queue.", "type")
        self.finished = self._counter(
            "tasks_finished",
            "Tasks that came to an end; outcome is completed, failed or cancelled. error_class says what a failed "
            "one failed with and is empty otherwise.",
            "type",
            "outcome",
            "error_class",
        )
        self.retried = self._counter(
            "tasks_retried",
            "Attempts that failed and are tried again later; reason is the kind of failure.",
            "type",
            "reason",
        )
        self.released = self._counter(
            "tasks_released", "Tasks handed back without counting an attempt."
        )
        self.rescued = self._counter(
            "tasks_rescued", "Tasks this worker returned to the queue after their lease expired."
        )
        self.poisoned = self._counter(
            "tasks_poisoned",
            "Tasks this worker gave up because they took down worker after worker.",
        )
        self.lost_leases = self._counter(
            "leases_lost", "Tasks whose lease ended while this worker ran them."
        )
        self.late_reports = self._counter(
            "reports_late",
            "Outcomes the queue refused because the lease was lost: done, but twice.",
        )
        self.redis_errors = self._counter(
            "redis_errors", "Queue operations that failed.", "operation"
        )
        self.dropped_events = self._counter(
            "events_dropped", "Events that could not be published.", "event_type"
        )
        self.run_seconds = self._histogram(
            "task_run_seconds", "Time one attempt ran.", _RUN_BUCKETS, "type"
        )
        self.wait_seconds = self._histogram(
            "task_wait_seconds",
            "Age of a task when its first attempt starts.",
            _WAIT_BUCKETS,
            "type",
        )
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds",
            "How late the event loop was to run what was due: the time something blocked it.",
            _LAG_BUCKETS,
        )
        self.sla_events = self._counter(
            "sla_events",
            "SLA events published for tasks that came near their deadline (warning) or missed it (violation).",
            "type",
            "event",
        )
        self.circuit_open = self._gauge(
            "circuit_open",
            "1 while no task's request is sent to this host because it is down; absent if it never was.",
            "host",
        )
        self.in_flight = self._gauge("tasks_in_flight", "Tasks running now.")
        self.unreported = self._gauge(
            "tasks_unreported", "Tasks that have ended and whose outcome Redis does not know yet."
        )
        self.slots = self._gauge("slots", "Tasks this worker can run at once.")
        self.draining = self._gauge(
            "draining", "1 while the worker finishes what it has and takes nothing new."
        )
        self.queue_up = self._gauge("queue_up", "1 if the last claim reached the queue.")
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels say what runs.", "version", "revision"
        )

    def of(self, label: str) -> TypeMetrics:
        """The children for tasks labelled `label`, which must come from a bounded set (see `Metrics`)."""
        known = self._types.get(label)
        if known is None:
            known = self._types[label] = TypeMetrics(
                claimed=self.claimed.labels(label),
                completed=self.finished.labels(label, "completed", ""),
                cancelled=self.finished.labels(label, "cancelled", ""),
                run_seconds=self.run_seconds.labels(label),
                wait_seconds=self.wait_seconds.labels(label),
            )
        return known

    def failed(self, label: str, error_class: str) -> None:
        """Counts a task that failed for good. Of error classes, as many are told apart as any program has."""
        if error_class not in self._error_classes:
            if len(self._error_classes) >= _MOST_ERROR_CLASSES:
                error_class = OTHER
            self._error_classes.add(error_class)
        self.finished.labels(label, "failed", error_class).inc()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"opsagent_worker_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"opsagent_worker_{name}", help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"opsagent_worker_{name}", help_text, labels, buckets=buckets, registry=self.registry
        )
