"""OpsAgentWorkers in the hands of kubectl: the columns, `scale`, `explain`, `wait`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.failure import ClusterError
from integration.api.objects import worker_with
from integration.api.server import Api
from opsagent_operator.api.v1alpha1 import GROUP, KIND, VERSION

pytestmark = pytest.mark.integration

NAME = "ops-agent"

STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Serving",
            "message": "2 of 3 workers serve v1.0.0.",
            "lastTransitionTime": "2025-10-22T07:30:00Z",
            "observedGeneration": 1,
        }
    ],
    "replicas": 3,
    "selector": "opsagent.dev/worker=ops-agent",
    "ready": "2/3",
    "release": {
        "current": {
            "revision": "ops-agent-0f3a9c21d4",
            "version": "v1.0.0",
            "image": "ghcr.io/acme/ops-agent-worker:v1.0.0",
        },
        "target": {
            "revision": "ops-agent-5b2d7e90aa",
            "version": "v1.1.0",
            "image": "ghcr.io/acme/ops-agent-worker:v1.1.0",
        },
    },
    "queue": {"pending": 17, "inFlight": 8},
}


@pytest.fixture
def worker(api: Api) -> Iterator[str]:
    """A stored object with a status; gives its name."""
    api.create(worker_with("spec.version", "v1.1.0", name=NAME))
    api.write_status(NAME, STATUS)
    yield NAME
    api.run("delete", "oaw", NAME)


def table(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


def test_get_shows_what_runs_and_how_it_is_doing(api: Api, worker: str) -> None:
    header, row = table(api.run("get", "oaw", worker))

    assert header == ["NAME", "VERSION", "READY", "QUEUE", "IN-FLIGHT", "STATUS", "AGE"]
    assert row[:-1] == [worker, "v1.0.0", "2/3", "17", "8", "Serving"]


def test_get_wide_shows_the_version_that_is_coming_up_too(api: Api, worker: str) -> None:
    header, row = table(api.run("get", "oaw", worker, "-o", "wide"))

    assert header == ["NAME", "VERSION", "TARGET", "READY", "QUEUE", "IN-FLIGHT", "STATUS", "AGE"]
    assert row[1:3] == ["v1.0.0", "v1.1.0"]


@pytest.mark.parametrize(
    "kind", ["oaw", "opsagentworker", "opsagentworkers", "opsagent", "opsagentworkers.opsagent.dev"]
)
def test_the_kind_has_a_long_a_short_and_a_family_name(api: Api, worker: str, kind: str) -> None:
    assert worker in api.run("get", kind, "-o", "name")


def test_scale_sets_the_fixed_number_of_workers(api: Api, worker: str) -> None:
    api.run("scale", f"oaw/{worker}", "--replicas=5")

    assert api.get(worker)["spec"]["replicas"] == 5


def test_scale_down_to_zero_is_not_lost_as_a_default(api: Api, worker: str) -> None:
    api.run("scale", f"oaw/{worker}", "--replicas=0")

    assert api.get(worker)["spec"]["replicas"] == 0


def test_scale_is_bounded_like_the_field(api: Api, worker: str) -> None:
    with pytest.raises(ClusterError, match="should be less than or equal to 1000"):
        api.run("scale", f"oaw/{worker}", "--replicas=1001")


def test_autoscalers_read_replicas_and_selector_from_the_scale_subresource(
    api: Api, worker: str
) -> None:
    api.run("scale", f"oaw/{worker}", "--replicas=5")

    scale = json.loads(api.run("get", f"oaw/{worker}", "--subresource=scale", "-o", "json"))

    assert scale["spec"]["replicas"] == 5
    assert scale["status"] == {"replicas": 3, "selector": "opsagent.dev/worker=ops-agent"}


def test_the_documented_patch_gives_scaling_back_to_the_queue(api: Api, worker: str) -> None:
    api.run("scale", f"oaw/{worker}", "--replicas=5")

    remove = '[{"op": "remove", "path": "/spec/replicas"}]'
    api.run("patch", f"oaw/{worker}", "--type=json", "-p", remove)

    assert "replicas" not in api.get(worker)["spec"]


def test_wait_sees_the_condition(api: Api, worker: str) -> None:
    output = api.run("wait", "--for=condition=Ready", f"oaw/{worker}", "--timeout=10s")

    assert "condition met" in output


def test_a_status_does_not_change_the_spec_nor_its_generation(api: Api, worker: str) -> None:
    before = api.get(worker)

    after = api.write_status(worker, {"ready": "3/3"})

    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_two_authors_can_each_own_a_variable(api: Api, worker: str) -> None:
    for author in ("team-a", "team-b"):
        variable = {"name": author.upper().replace("-", "_"), "value": "set"}
        patch = worker_with("spec.worker.env[]", variable)
        patch["spec"] = {"worker": patch["spec"]["worker"]}
        api.kubectl.run(
            "apply",
            "--server-side",
            f"--field-manager={author}",
            f"--namespace={api.namespace}",
            "-f",
            "-",
            stdin=json.dumps(patch),
        )

    names = [variable["name"] for variable in api.get(worker)["spec"]["worker"]["env"]]

    assert sorted(names) == ["TEAM_A", "TEAM_B"]


def test_explain_tells_what_a_field_means(api: Api) -> None:
    output = " ".join(api.run("explain", "oaw.spec.worker.lease").split())

    assert "lease <string>" in output
    assert "How long a task belongs to a worker that has gone silent" in output


def test_the_api_server_describes_every_field_to_explain(api: Api) -> None:
    served = json.loads(api.run("get", "--raw", f"/openapi/v3/apis/{GROUP}/{VERSION}"))
    schema = served["components"]["schemas"][f"dev.opsagent.{VERSION}.{KIND}"]

    fields = [
        (path, node)
        for part in ("spec", "status")
        for path, node in _fields(part, schema["properties"][part])
    ]

    assert len(fields) > 100
    assert [path for path, node in fields if not node.get("description")] == []


def _fields(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, node in schema.get("items", schema).get("properties", {}).items():
        yield from _fields(f"{path}.{name}", node)
