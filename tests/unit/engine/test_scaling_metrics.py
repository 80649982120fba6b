"""What Prometheus gets of decisions: a few numbers of each object, as long as it is there."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from opsagent_operator.model.plan import Outcome
from opsagent_operator.observe.cluster import Key
from opsagent_operator.runtime.scaling_metrics import ScalingMetrics, Subscriber

KEY, OTHER = Key("shop", "ops-agent"), Key("shop", "other")
OUTCOME = Outcome(
    action="ScaleUp",
    reason="QueueDepth",
    wanted=7,
    current=2,
    desired=5,
    ready=2,
    busy=1,
    draining=0,
)


class Setup:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ScalingMetrics(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"opsagent_operator_{name}", labels)

    def of(self, key: Key) -> Mapping[str, float]:
        """All numbers of one object."""
        return {
            sample.name.removeprefix("opsagent_operator_"): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.labels == {"namespace": key.namespace, "name": key.name}
        }


def test_the_last_decision_about_each_object_is_told() -> None:
    setup = Setup()
    setup.metrics.decided(KEY, replace(OUTCOME, wanted=1))
    setup.metrics.decided(KEY, OUTCOME)
    setup.metrics.decided(OTHER, replace(OUTCOME, busy=None))
    assert setup.of(KEY) == {
        "workers_wanted": 7,
        "workers_desired": 5,
        "workers_ready": 2,
        "workers_busy": 1,
        "workers_draining": 0,
        "victims_chosen_total": 0,
        "victims_missed_total": 0,
    }
    assert "workers_busy" not in setup.of(OTHER)


def test_decisions_and_victims_add_up() -> None:
    setup = Setup()
    down = replace(OUTCOME, action="ScaleDown", victims_chosen=3)
    for outcome in (OUTCOME, down, replace(down, victims_chosen=1, victims_missed=2)):
        setup.metrics.decided(KEY, outcome)
    assert setup.value("decisions_total", action="ScaleUp", reason="QueueDepth") == 1
    assert setup.value("decisions_total", action="ScaleDown", reason="QueueDepth") == 2
    assert setup.of(KEY)["victims_chosen_total"] == 4
    assert setup.of(KEY)["victims_missed_total"] == 2


def test_an_object_that_is_gone_leaves_no_series() -> None:
    setup = Setup()
    for key in (KEY, OTHER):
        setup.metrics.decided(key, OUTCOME)
        setup.metrics.queue_was_read(key)
    setup.metrics.forget(KEY)
    setup.metrics.forget(KEY)
    assert setup.of(KEY) == {}
    assert setup.of(OTHER)


def test_the_age_of_a_snapshot_grows_until_the_queue_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, now = Setup(), 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    setup.metrics.queue_was_read(KEY)
    now = 1040.0
    assert setup.of(KEY) == {"snapshot_age_seconds": 40.0}
    setup.metrics.queue_was_read(KEY)
    assert setup.of(KEY) == {"snapshot_age_seconds": 0.0}


def test_subscribers_are_told_by_the_address_of_their_redis() -> None:
    setup = Setup()
    subscribers = [
        Subscriber(redis="redis.example.com:6379/0", subscribed=True, reconnects=1),
        Subscriber(redis="redis.example.com:6379/0", subscribed=False, reconnects=2),
        Subscriber(redis="redis.example.com:6379/1", subscribed=True, reconnects=0),
    ]
    setup.metrics.watch_subscribers(lambda: subscribers)
    assert setup.value("redis_subscribed", redis="redis.example.com:6379/0") == 0
    assert setup.value("redis_reconnects_total", redis="redis.example.com:6379/0") == 3
    assert setup.value("redis_subscribed", redis="redis.example.com:6379/1") == 1
    subscribers.pop()
    assert setup.value("redis_subscribed", redis="redis.example.com:6379/1") is None


def test_the_time_from_a_task_to_its_workers_is_a_histogram() -> None:
    setup, dice = Setup(), random.Random(1)  # noqa: S311 - any numbers
    times = [dice.uniform(0, 0.03) for _ in range(10)]
    for seconds in (*times, 2.0):
        setup.metrics.scaled_up(seconds=seconds)
    assert setup.value("arrival_to_scale_seconds_bucket", le="0.03") == 10
    assert setup.value("arrival_to_scale_seconds_count") == 11
