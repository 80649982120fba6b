"""What a deploy task may ask for, and what it is told when it asks for something else."""

from typing import Any

import pytest

from opsagent_queue import Task
from opsagent_worker.errors import PermanentError
from opsagent_worker.handlers.deploy_payload import DeployPayload
from opsagent_worker.handlers.payload import read_payload


def read(payload: dict[str, Any]) -> DeployPayload:
    return read_payload(DeployPayload, Task.new(type="deploy", payload=payload, assigned_to="ops"))


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({}, "project: Field required"),
        ({"project": "../../v2/user"}, "project: String should match pattern"),
        ({"project": ".."}, "project: must not consist of dots alone"),
        ({"project": "web", "environment": "prod"}, "environment: Input should be 'production'"),
        ({"project": "web", "action": "undo"}, "action: Input should be 'create', 'promote' or"),
        ({"project": "web", "gitSource": {}}, "gitSource.type: Field required"),
        (
            {"project": "web", "gitSource": {"type": "github", "repo": "web", "ref": "main"}},
            "gitSource: a source of type github needs ref and repoId, or ref and org and repo",
        ),
        (
            {"project": "web", "gitSource": {"type": "gitlab", "ref": "main"}},
            "gitSource: a source of type gitlab needs ref and projectId",
        ),
        (
            {"project": "web", "deployment": "dpl_1", "gitSource": {"type": "vercel", "sha": "a"}},
            "gitSource and deployment exclude each other",
        ),
        ({"project": "web", "action": "promote"}, "to promote, name the deployment"),
        (
            {"project": "web", "action": "rollback", "environment": "staging"},
            "only production can be the environment of a rollback",
        ),
        (
            {
                "project": "web",
                "action": "promote",
                "deployment": "dpl_1",
                "gitSource": {"type": "vercel", "sha": "a"},
            },
            "a promote builds nothing: leave gitSource out",
        ),
        (
            {"project": "web", "action": "promote", "deployment": "dpl_1/../../x"},
            "deployment: String should match pattern",
        ),
    ],
)
def test_a_wrong_payload_is_told_what_to_do(payload: dict[str, Any], problem: str) -> None:
    with pytest.raises(PermanentError) as caught:
        read(payload)

    assert problem in str(caught.value)


def test_a_creation_is_a_preview_unless_it_says_otherwise() -> None:
    payload = read({"service": "web", "requested_by": "somebody"})

    assert payload.about() == {"action": "create", "project": "web", "environment": "preview"}


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_what_switches_traffic_does_so_in_production(action: str) -> None:
    assert read({"project": "web", "action": action, "deploymentId": "dpl_1"}).environment == (
        "production"
    )


@pytest.mark.parametrize("named", ["web-abc-team.vercel.app", " https://web-abc-team.vercel.app/ "])
def test_a_deployment_may_be_named_by_its_url(named: str) -> None:
    payload = read({"project": "web", "deployment": named})

    assert payload.deployment == "web-abc-team.vercel.app"


def test_a_source_reaches_vercel_in_its_own_words() -> None:
    source = {"type": "github", "repoId": 7, "ref": "main", "sha": "abc"}

    payload = read({"project": "web", "gitSource": {**source, "comment": "not for Vercel"}})

    assert payload.git_source is not None
    assert payload.git_source.wire() == source
