"""What the operator tells Prometheus about itself (docs/operations.md has the table).

Names, labels and buckets of the first three groups are those of Go operators, so that existing
dashboards and alerts fit: `controller_runtime_*` from sigs.k8s.io/controller-runtime, `workqueue_*`
and `rest_client_requests_total` from k8s.io/component-base and client-go.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from opsagent_operator.runtime.scaling_metrics import ScalingMetrics

__all__ = ["CONTROLLER", "Metrics", "QueueMetrics"]

CONTROLLER: Final = "opsagentworker"

_RECONCILE_SECONDS: Final = (
    *(
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.35,
        0.4,
        0.45,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    ),
    *(1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9),
    *(10, 15, 20, 25, 30, 40, 50, 60),
)
_QUEUE_SECONDS: Final = tuple(10.0**exponent for exponent in range(-8, 4))


class QueueMetrics:
    """Metrics of one work queue, labelled with its name."""

    def __init__(self, registry: CollectorRegistry, name: str) -> None:
        def gauge(metric: str, about: str) -> Gauge:
            return Gauge(metric, about, ["name"], registry=registry).labels(name)

        def counter(metric: str, about: str) -> Counter:
            return Counter(metric, about, ["name"], registry=registry).labels(name)

        def histogram(metric: str, about: str) -> Histogram:
            family = Histogram(metric, about, ["name"], registry=registry, buckets=_QUEUE_SECONDS)
            return family.labels(name)

        self.depth = gauge("workqueue_depth", "Keys that are ready to be processed")
        self.adds = counter("workqueue_adds", "Keys that became ready to be processed")
        self.retries = counter("workqueue_retries", "Keys that were added again after an error")
        self.queue_seconds = histogram(
            "workqueue_queue_duration_seconds", "How long a key was ready before it was processed"
        )
        self.work_seconds = histogram(
            "workqueue_work_duration_seconds", "How long processing a key took"
        )
        self.unfinished = gauge(
            "workqueue_unfinished_work_seconds", "Seconds of work in progress, over all keys"
        )
        self.longest_running = gauge(
            "workqueue_longest_running_processor_seconds",
            "How long the oldest work has been running",
        )

    def watch_running(self, *, total: Callable[[], float], longest: Callable[[], float]) -> None:
        """Ask these for the work in progress (seconds) whenever Prometheus does."""
        self.unfinished.set_function(total)
        self.longest_running.set_function(longest)


class Metrics:
    """All metrics of the operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.queue = QueueMetrics(self.registry, CONTROLLER)

        reconciles = Counter(
            "controller_runtime_reconcile",
            "Reconciliations by result: success, requeue_after or error",
            ["controller", "result"],
            registry=self.registry,
        )
        self.results = {
            result: reconciles.labels(CONTROLLER, result)
            for result in ("success", "requeue_after", "error")
        }
        self.errors = Counter(
            "controller_runtime_reconcile_errors",
            "Reconciliations that failed",
            ["controller"],
            registry=self.registry,
        ).labels(CONTROLLER)
        self.seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconciliation took",
            ["controller"],
            buckets=_RECONCILE_SECONDS,
            registry=self.registry,
        ).labels(CONTROLLER)
        self.workers = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "How many objects are reconciled at the same time at most",
            ["controller"],
            registry=self.registry,
        ).labels(CONTROLLER)
        self.active_workers = Gauge(
            "controller_runtime_active_workers",
            "How many objects are being reconciled",
            ["controller"],
            registry=self.registry,
        ).labels(CONTROLLER)

        self.scaling = ScalingMetrics(self.registry)

        self.requests = Counter(
            "rest_client_requests",
            "Requests to the API server, the watches left out",
            ["method", "code"],
            registry=self.registry,
        )

        self.watch_restarts = Counter(
            "opsagent_operator_watch_restarts",
            "How often all watches were started anew because one of them had failed or died",
            registry=self.registry,
        )
        self.loop_lag = Gauge(
            "opsagent_operator_event_loop_lag_seconds",
            "How late the event loop woke up a sleeping task when last measured",
            registry=self.registry,
        )
        self.cached_objects = Gauge(
            "opsagent_operator_cached_objects",
            "Objects in the cache, by kind",
            ["kind"],
            registry=self.registry,
        )

    def count_request(self, method: str, code: str) -> None:
        self.requests.labels(method, code).inc()
