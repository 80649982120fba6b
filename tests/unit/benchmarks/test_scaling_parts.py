"""What the scaling benchmark judges by: the audit log, and a pod that is like the operator's."""

import json
from pathlib import Path
from typing import Any

from benchmarks.scaling_pods import bare_pod
from benchmarks.scaling_wake import Round
from benchmarks.scaling_world import NAMESPACE, AuditLog, manifest
from benchmarks.tables import wake
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.kube.login import USER_AGENT
from opsagent_queue import Keys


def line(name: str, *, agent: str = USER_AGENT, code: int = 200, **target: Any) -> str:
    event = {
        "userAgent": agent,
        "verb": "patch",
        "stageTimestamp": "2026-01-01T00:00:01.250000Z",
        "responseStatus": {"code": code},
        "objectRef": {
            "namespace": NAMESPACE,
            "resource": "deployments",
            "name": name,
            **target,
        },
    }
    return json.dumps(event) + "\n"


def test_only_the_operators_writes_in_the_namespace_count(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text(line("before"))
    log = AuditLog(file)
    with file.open("a") as opened:
        opened.write(line("a") + line("b", agent="kube-controller-manager"))
        opened.write(line("c", namespace="elsewhere") + line("d", code=409))
        opened.write(line("e", resource="opsagentworkers", subresource="status"))
    found = log.read()
    assert [(write.name, write.resource, write.accepted) for write in found] == [
        ("a", "deployments", True),
        ("d", "deployments", False),
        ("e", "opsagentworkers/status", True),
    ]
    assert found[0].at == 1767225601.25
    assert log.noted == 4
    assert log.read() == []
    log.close()


def test_a_line_that_is_half_written_and_a_log_that_was_full_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_text("")
    log = AuditLog(file)
    whole = line("a")
    with file.open("a") as opened:
        opened.write(whole[:20])
    assert log.read() == []
    with file.open("a") as opened:
        opened.write(whole[20:] + line("b"))
    file.rename(tmp_path / "audit-1.log")
    file.write_text(line("c"))
    assert [write.name for write in log.read()] == ["a", "b", "c"]
    log.close()


def test_the_objects_of_the_benchmark_are_valid() -> None:
    OpsAgentWorkerSpec.model_validate(manifest("fleet", max_replicas=10)["spec"])


def test_a_bare_pod_differs_from_a_workers_only_in_whose_it_is_and_in_its_queue() -> None:
    container: dict[str, Any] = {
        "name": "worker",
        "env": [
            {"name": "OPSAGENT_WORKER", "value": "a/b"},
            {"name": "OPSAGENT_QUEUE_PREFIX", "value": "orchestrator"},
            {"name": "LOG_LEVEL", "value": "INFO"},
        ],
    }
    template: dict[str, Any] = {
        "metadata": {"labels": {"opsagent.dev/worker": "b"}},
        "spec": {"containers": [container]},
    }
    pod = bare_pod(template, Keys(prefix="bare", worker="a/bare"))
    assert "labels" not in pod["metadata"]
    (found,) = pod["spec"]["containers"]
    assert {variable["name"]: variable["value"] for variable in found["env"]} == {
        "OPSAGENT_WORKER": "a/bare",
        "OPSAGENT_QUEUE_PREFIX": "bare",
        "LOG_LEVEL": "INFO",
    }
    assert template["spec"]["containers"][0]["env"][0]["value"] == "a/b"


def test_rises_are_told_by_the_number_they_reach() -> None:
    rises = [
        Round(replicas=count, accepted_ms=10.0 * number, writes=number, ready_ms=100.0)
        for count in (100, 1)
        for number in (1, 2, 3)
    ]
    grid = wake(rises)
    assert [row[0] for row in grid.rows] == ["0 to 1", "0 to 100", "promised"]
    assert grid.rows[0][1:6] == ("3", "**20.0**", "30.0", "30.0", "3")
