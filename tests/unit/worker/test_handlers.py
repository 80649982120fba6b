"""The handlers' pure parts: payloads, texts, findings."""

from typing import Any

import pytest

from opsagent_queue import Task
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.alert import AlertPayload
from opsagent_worker.handlers.deploy_payload import DeployPayload
from opsagent_worker.handlers.monitor import MonitorPayload
from opsagent_worker.handlers.payload import Payload, read_payload


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
