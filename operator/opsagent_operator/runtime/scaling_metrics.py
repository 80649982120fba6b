"""What the operator tells Prometheus about its decisions, and about the Redises it listens to.

Numbers of objects are kept as one small record each and turned into samples only when somebody asks:
a `Gauge` with labels takes some kilobytes for each object, and must be told when one has gone.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opsagent_operator.model.plan import Outcome
from opsagent_operator.observe.cluster import Key

__all__ = ["ScalingMetrics", "Subscriber"]

_ARRIVAL_SECONDS: Final = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
)
_OBJECT: Final = ("namespace", "name")


class Subscriber(NamedTuple):
    """How the connection is on which one Redis tells of new tasks."""

    redis: str
    """Host, port and database."""
    subscribed: bool
    reconnects: int


@dataclass(slots=True)
class _Record:
    outcome: Outcome | None = None
    read_at: float | None = None
    victims_chosen: int = 0
    victims_missed: int = 0


class ScalingMetrics(Collector):
    """Metrics of decisions; `collect` is called for each scrape, perhaps in another thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records: dict[Key, _Record] = {}
        self._subscribers: Callable[[], Iterable[Subscriber]] = tuple
        self._decisions = Counter(
            "opsagent_operator_decisions",
            "Decisions about the number of workers, by what was done and why",
            ["action", "reason"],
            registry=registry,
        )
        self._arrivals = Histogram(
            "opsagent_operator_arrival_to_scale_seconds",
            "From the message that announced a task to the accepted write of more replicas",
            buckets=_ARRIVAL_SECONDS,
            registry=registry,
        )
        registry.register(self)

    def watch_subscribers(self, subscribers: Callable[[], Iterable[Subscriber]]) -> None:
        """Ask this for all subscribers whenever Prometheus does."""
        self._subscribers = subscribers

    def queue_was_read(self, key: Key) -> None:
        """The queue of an object was read just now."""
        self._record(key).read_at = time.monotonic()

    def decided(self, key: Key, outcome: Outcome) -> None:
        """A decision was made, and carried out."""
        record = self._record(key)
        record.outcome = outcome
        record.victims_chosen += outcome.victims_chosen
        record.victims_missed += outcome.victims_missed
        self._decisions.labels(outcome.action, outcome.reason).inc()

    def scaled_up(self, *, seconds: float) -> None:
        """More replicas were accepted so long after a task was announced."""
        self._arrivals.observe(seconds)

    def forget(self, key: Key) -> None:
        """The object is gone, and so are its series."""
        self._records.pop(key, None)

    def describe(self) -> Iterable[Metric]:
        return [*self._of_objects(()), *_of_subscribers(())]

    def collect(self) -> Iterator[Metric]:
        yield from self._of_objects(tuple(self._records.items()))
        yield from _of_subscribers(self._subscribers())

    def _record(self, key: Key) -> _Record:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
        return record

    def _of_objects(self, records: Iterable[tuple[Key, _Record]]) -> Iterator[Metric]:
        wanted = _gauge("workers_wanted", "Workers that the queue needs, within the bounds")
        desired = _gauge("workers_desired", "Workers asked for, after windows and steps")
        ready = _gauge("workers_ready", "Workers that are ready")
        busy = _gauge("workers_busy", "Workers that hold tasks; absent where unknown")
        draining = _gauge("workers_draining", "Workers chosen to go that are still there")
        age = _gauge("snapshot_age_seconds", "Since the queue was last read")
        chosen = _counter("victims_chosen", "Workers chosen to go in favour of busier ones")
        missed = _counter("victims_missed", "Workers that went in place of a chosen one")
        now = time.monotonic()
        for key, record in records:
            if record.read_at is not None:
                age.add_metric(key, now - record.read_at)
            if (outcome := record.outcome) is None:
                continue
            wanted.add_metric(key, outcome.wanted)
            desired.add_metric(key, outcome.desired)
            ready.add_metric(key, outcome.ready)
            if outcome.busy is not None:
                busy.add_metric(key, outcome.busy)
            draining.add_metric(key, outcome.draining)
            chosen.add_metric(key, record.victims_chosen)
            missed.add_metric(key, record.victims_missed)
        yield from (wanted, desired, ready, busy, draining, age, chosen, missed)


def _of_subscribers(subscribers: Iterable[Subscriber]) -> Iterator[Metric]:
    subscribed = GaugeMetricFamily(
        "opsagent_operator_redis_subscribed",
        "Whether new tasks in this Redis are heard of at once (1) or by polls alone (0)",
        labels=["redis"],
    )
    reconnects = CounterMetricFamily(
        "opsagent_operator_redis_reconnects",
        "Subscriptions that were made again after the connection had been lost",
        labels=["redis"],
    )
    # Two users of one Redis are two subscribers at one address.
    states: dict[str, tuple[bool, int]] = {}
    for one in subscribers:
        all_subscribed, total = states.get(one.redis, (True, 0))
        states[one.redis] = all_subscribed and one.subscribed, total + one.reconnects
    for redis, (all_subscribed, total) in states.items():
        subscribed.add_metric([redis], all_subscribed)
        reconnects.add_metric([redis], total)
    yield from (subscribed, reconnects)


def _gauge(name: str, about: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"opsagent_operator_{name}", about, labels=_OBJECT)


def _counter(name: str, about: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"opsagent_operator_{name}", about, labels=_OBJECT)
