"""From Kubernetes' JSON to what decisions are made of."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from opsagent_operator.manifests.deployment import deployment
from opsagent_operator.manifests.revision import controller_revision, new_revision
from opsagent_operator.model.observed import DeploymentState, InvalidSpec, Revision, Worker
from opsagent_operator.observe import convert

PODS = yaml.safe_load((Path(__file__).parent / "objects" / "pods.yaml").read_text())
NOW = datetime(2025, 10, 22, 12, 0, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "version": "v1.0.0",
    "image": {"repository": "example.com/worker"},
    "queue": {"redis": {"urlFrom": {"secretKeyRef": {"name": "redis", "key": "REDIS_URL"}}}},
}


def body(spec: Any = SPEC, **metadata: Any) -> dict[str, Any]:
    about = {"namespace": "shop", "name": "ops-agent", "uid": "1", "generation": 4, **metadata}
    return {"metadata": about, "spec": spec}


@pytest.mark.parametrize("case", PODS, ids=[case["sentence"] for case in PODS])
def test_a_pod_is_understood(case: dict[str, Any]) -> None:
    found = asdict(convert.pod_state(case["pod"]))
    assert {field: found[field] for field in case["expected"]} == case["expected"]
    assert (found["name"], found["revision"], found["created_at"]) == ("a-1", "a", NOW)


def test_an_object_is_understood() -> None:
    worker = convert.worker({**body(), "status": {"ready": "1/1"}})
    assert not isinstance(worker.spec, InvalidSpec)
    assert (worker.namespace, worker.name, worker.generation) == ("shop", "ops-agent", 4)
    assert worker.spec.version == "v1.0.0"
    assert worker.status == {"ready": "1/1"}
    assert not worker.deleting
    assert convert.worker(body(deletionTimestamp="2025-10-22T12:00:00Z")).deleting


@pytest.mark.parametrize("spec", [None, {}, {**SPEC, "version": 7}])
def test_a_spec_that_cannot_be_read_is_data_and_says_which_field(spec: Any) -> None:
    worker = convert.worker(body(spec))
    assert isinstance(worker.spec, InvalidSpec)
    assert "spec.version" in worker.spec.message


@pytest.mark.parametrize("promoted_at", [None, NOW])
def test_a_revision_is_read_as_it_was_written(promoted_at: datetime | None) -> None:
    worker = convert.worker(body())
    written = revision(worker, promoted_at)
    manifest = dict(controller_revision(worker, written))
    manifest["metadata"] = {**manifest["metadata"], "creationTimestamp": "2025-10-22T12:00:00Z"}
    assert convert.revision(manifest) == written


def test_a_deployment_is_understood() -> None:
    worker = convert.worker(body())
    manifest = deployment(
        worker, revision(worker, None), replicas=3, progress_deadline=timedelta(minutes=2)
    )
    assert convert.deployment_state(manifest) == DeploymentState(replicas=3, ready=0)
    running = {**manifest, "status": {"readyReplicas": 2}}
    assert convert.deployment_state(running) == DeploymentState(replicas=3, ready=2)


def revision(worker: Worker, promoted_at: datetime | None) -> Revision:
    assert not isinstance(worker.spec, InvalidSpec)
    made = new_revision(
        namespace=worker.namespace,
        name=worker.name,
        spec=worker.spec,
        version="v1.0.0",
        number=3,
        now=NOW,
    )
    return Revision(
        name=made.name,
        number=made.number,
        version=made.version,
        image=made.image,
        template=made.template,
        created_at=NOW,
        promoted_at=promoted_at,
    )
