"""OpsAgentWorker's models: what the operator holds in its hand."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from opsagent_operator.api.v1alpha1 import (
    Condition,
    OpsAgentWorkerSpec,
    OpsAgentWorkerStatus,
    Scaling,
)

SMALLEST: dict[str, Any] = {
    "version": "v1.0.0-stable-20251022",
    "image": {"repository": "ghcr.io/acme/ops-agent-worker"},
    "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "ops-agent", "key": "REDIS_URL"}}}},
}


def test_the_smallest_spec_is_all_that_is_left_when_defaults_are_left_out() -> None:
    spec = OpsAgentWorkerSpec.model_validate(SMALLEST)

    assert spec.model_dump(mode="json", by_alias=True, exclude_defaults=True) == SMALLEST


def test_a_field_that_names_its_default_makes_no_difference() -> None:
    spelled_out = SMALLEST | {
        "scaling": {"maxReplicas": 10, "scaleDown": {"stabilization": "60s"}},
        "worker": {"lease": "0.5m", "resources": {"limits": {}}, "podLabels": {}},
    }

    spec = OpsAgentWorkerSpec.model_validate(spelled_out)

    assert spec == OpsAgentWorkerSpec.model_validate(SMALLEST)


def test_durations_are_timedeltas_in_python_and_short_text_on_the_wire() -> None:
    spec = OpsAgentWorkerSpec.model_validate(SMALLEST | {"worker": {"taskTimeout": "90s"}})

    assert spec.worker.task_timeout == timedelta(seconds=90)
    assert spec.worker.model_dump(mode="json", by_alias=True, exclude_defaults=True) == {
        "taskTimeout": "1m30s"
    }


def test_abbreviations_stay_upper_case_on_the_wire() -> None:
    wire = OpsAgentWorkerSpec.model_validate(SMALLEST).model_dump(by_alias=True)

    assert "resultTTL" in wire["worker"]
    assert "allowInsecureTLS" in wire["queue"]["redis"]


def test_a_quantity_is_text_in_python_however_it_is_written() -> None:
    spec = OpsAgentWorkerSpec.model_validate(
        SMALLEST | {"worker": {"resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}}
    )

    assert spec.worker.resources.limits == {"cpu": "2", "memory": "1Gi"}


def test_a_field_of_a_newer_definition_is_ignored() -> None:
    newer = SMALLEST | {"scaling": {"maxReplicas": 3, "fromTheFuture": True}}

    spec = OpsAgentWorkerSpec.model_validate(newer)

    assert spec.scaling == Scaling(max_replicas=3)


def test_a_spec_cannot_be_changed() -> None:
    spec = OpsAgentWorkerSpec.model_validate(SMALLEST)

    with pytest.raises(ValidationError, match="frozen"):
        spec.paused = True  # type: ignore[misc] # that this is forbidden is what is tested


def test_a_status_nobody_has_written_claims_nothing() -> None:
    status = OpsAgentWorkerStatus.model_validate({"observedGeneration": -1})

    assert status == OpsAgentWorkerStatus()
    assert status.queue.pending is None


def test_a_moment_is_written_in_utc_to_the_second_wherever_it_was_measured() -> None:
    here = datetime(2025, 10, 22, 15, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=8)))

    condition = Condition(type="Ready", status="True", reason="Up", last_transition_time=here)

    assert condition.model_dump(mode="json", by_alias=True)["lastTransitionTime"] == (
        "2025-10-22T07:30:00Z"
    )


def test_a_moment_comes_back_as_it_was_written() -> None:
    condition = Condition.model_validate(
        {
            "type": "Ready",
            "status": "True",
            "reason": "Up",
            "lastTransitionTime": "2025-10-22T07:30:00Z",
        }
    )

    assert condition.last_transition_time == datetime(2025, 10, 22, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "count", "workers"),
    [
        (3, 10, 3),
        (3, 0, 3),
        ("50%", 10, 5),
        ("50%", 7, 4),
        ("50%", 1, 1),
        ("1%", 10, 1),
        ("50%", 0, 1),
        ("100%", 8, 8),
        ("200%", 8, 16),
    ],
)
def test_a_step_is_a_number_of_workers_or_a_share_rounded_up(
    written: int | str, count: int, workers: int
) -> None:
    scaling = Scaling.model_validate({"scaleDown": {"maxStep": written}})

    assert scaling.scale_down.max_step.of(count) == workers
    assert scaling.model_dump(by_alias=True, mode="json")["scaleDown"]["maxStep"] == written


@pytest.mark.parametrize("written", [0, -1, 1001, True, 1.5, "", "0%", "50", "1000%", "half"])
def test_a_step_that_is_neither_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match="neither a number from 1 to 1000 nor a percentage"):
        Scaling.model_validate({"scaleUp": {"maxStep": written}})
