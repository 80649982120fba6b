"""The handlers' pure parts: payloads, texts, findings."""

from dataclasses import replace
from typing import Any

import pytest

from opsagent_queue import Snapshot, Task
from opsagent_worker.checks.result import Check, HealthReport, HealthStatus
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.alert import AlertPayload
from opsagent_worker.handlers.deploy_payload import DeployPayload
from opsagent_worker.handlers.investigate import Observation, decide, orient
from opsagent_worker.handlers.monitor import MonitorPayload
from opsagent_worker.handlers.payload import Payload, read_payload

CALM = Observation(
    queue=Snapshot(
        pending=0,
        delayed=0,
        next_due_ms=None,
        in_flight=1,
        dead=0,
        foreign=0,
        orphaned=0,
        oldest_ms=None,
        paused=False,
        time_ms=0,
        run_id=None,
    ),
    counters={},
    redis_latency_ms=0.5,
    services={},
)


def task(payload: dict[str, Any]) -> Task:
    return Task.new(type="any", payload=payload, assigned_to="ops")


@pytest.mark.parametrize(
    ("model", "payload", "problem"),
    [
        (MonitorPayload, {}, "payload: needs a url, or the name of a service"),
        (MonitorPayload, {"url": 5}, "url: Input should be a valid string"),
        (
            MonitorPayload,
            {"url": "http://x", "timeout": "soon"},
            "timeout: 'soon' is not a duration",
        ),
        (
            MonitorPayload,
            {"url": "http://x", "timeout": "2m"},
            "timeout: Input should be less than",
        ),
        (AlertPayload, {"alert_type": "x"}, "message: Field required"),
        (DeployPayload, {}, "project: Field required"),
        (DeployPayload, {"project": "../../v2/user"}, "project: String should match pattern"),
        (DeployPayload, {"project": "web", "environment": "prod"}, "environment: Input should be"),
        (DeployPayload, {"project": "web", "gitSource": {}}, "gitSource.type: Field required"),
    ],
)
def test_a_wrong_payload_is_a_permanent_error_that_names_the_field(
    model: type[Payload], payload: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        read_payload(model, task(payload))

    assert f"the payload of this any task is wrong: {problem}" in str(caught.value)


def test_a_deploy_task_may_call_its_project_a_service_and_defaults_to_a_preview() -> None:
    payload = read_payload(DeployPayload, task({"service": "web", "requested_by": "somebody"}))

    assert (payload.project, payload.environment, payload.git_source) == ("web", "preview", None)


def test_calm_observations_give_no_finding_and_nothing_to_do() -> None:
    assert orient(CALM) == []
    assert decide([]) == "nothing to do: everything in sight looks normal"


@pytest.mark.parametrize(
    ("queue", "severity", "what"),
    [
        ({"paused": True}, "critical", "the queue is paused"),
        ({"oldest_ms": 400_000}, "critical", "waiting for 6 min"),
        ({"pending": 101}, "warning", "101 tasks are waiting"),
        ({"dead": 2}, "warning", "2 tasks have failed for good"),
        ({"orphaned": 1}, "warning", "1 queued ids have no readable record"),
    ],
)
def test_what_stands_out_in_the_queue_is_a_finding(
    queue: dict[str, Any], severity: str, what: str
) -> None:
    (finding,) = orient(replace(CALM, queue=replace(CALM.queue, **queue)))

    assert finding.severity == severity
    assert what in finding.what


def test_a_slow_redis_is_a_finding() -> None:
    (finding,) = orient(replace(CALM, redis_latency_ms=150.0))

    assert finding.what == "Redis took 150.0 ms"


def test_an_unhealthy_service_is_what_is_acted_on_first() -> None:
    check = Check(kind="http", status=HealthStatus.UNHEALTHY, detail="refused")
    report = HealthReport(target="http://api", checks=(check,))
    findings = orient(
        replace(CALM, queue=replace(CALM.queue, pending=500), services={"api": report})
    )

    assert [finding.severity for finding in findings] == ["critical", "warning"]
    assert decide(findings) == "restore api"
