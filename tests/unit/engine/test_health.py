"""What the kubelet and Prometheus get."""

import httpx
import pytest

from opsagent_operator.runtime import health
from opsagent_operator.runtime.metrics import Metrics


@pytest.mark.parametrize(
    ("problems", "status"), [((None, None), 200), ((None, "a watch is dead"), 503)]
)
async def test_an_operator_is_well_when_no_check_complains(
    problems: tuple[str | None, ...], status: int
) -> None:
    runner, port = await health.serve(
        host="127.0.0.1",
        port=0,
        healthy=[lambda problem=problem: problem for problem in problems],  # type: ignore[misc] # bound at once
        ready=[],
        metrics=Metrics().registry,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.get("/healthz")
            assert answer.status_code == status
            assert answer.json().get("problems", []) == [p for p in problems if p is not None]
            assert (await client.get("/readyz")).status_code == 200
            assert "# EOF" in (await client.get("/metrics")).text
    finally:
        await runner.cleanup()


def test_the_metrics_have_the_names_of_go_operators() -> None:
    metrics = Metrics()
    metrics.count_request("GET", "200")
    names = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert {
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_reconcile_time_seconds_bucket",
        "controller_runtime_max_concurrent_reconciles",
        "controller_runtime_active_workers",
        "workqueue_depth",
        "workqueue_adds_total",
        "workqueue_queue_duration_seconds_bucket",
        "workqueue_work_duration_seconds_bucket",
        "workqueue_retries_total",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
        "rest_client_requests_total",
    } <= names
