"""Real workers look at what is around them, make sense of it, and change nothing."""

from collections.abc import Iterator

import pytest

from doubles.loopback import LoopbackServer, Response
from doubles.slack import SlackDouble
from doubles.vercel import VercelDouble
from integration.worker.harness import TOKEN, EventLog, Records, StartWorker
from opsagent_queue import Task

pytestmark = pytest.mark.integration


@pytest.fixture
def broken_url() -> Iterator[str]:
    with LoopbackServer(lambda _request: Response(503, "down")) as server:
        yield server.url


def investigate(**payload: object) -> Task:
    return Task.new(type="investigate", payload=payload, assigned_to="ops", source="user")


async def fail_three_tasks(records: Records) -> None:
    for _ in range(3):
        task = Task.new(type="monitor", payload={"service": "nobody"}, assigned_to="ops")
        assert (await records.run(task)).status == "failed"


async def test_a_calm_investigation_goes_through_all_four_phases(
    records: Records, start_worker: StartWorker, health_url: str
) -> None:
    await start_worker(ORCHESTRATOR_URL=health_url).started()

    result = (await records.run(investigate(issue="deployments are slow"))).metadata["result"]

    assert result["issue"] == "deployments are slow"
    assert result["observe"]["queue"]["in_flight"] == 1
    assert result["observe"]["services"]["orchestrator"]["status"] == "healthy"
    assert result["observe"]["services"]["redis"]["status"] == "healthy"
    assert result["observe"]["deployments"] == []
    assert result["orient"]["findings"] == []
    assert result["decide"]["action"]["kind"] == "none"
    assert result["act"]["done"] == []
    assert all(result[phase]["seconds"] >= 0 for phase in ("observe", "orient", "decide", "act"))


async def test_failures_after_a_deployment_lead_to_a_proposal_and_an_alert(
    records: Records,
    events: EventLog,
    vercel: VercelDouble,
    slack: SlackDouble,
    start_worker: StartWorker,
    broken_url: str,
) -> None:
    live = vercel.add_deployment(project="web", target="production")
    await start_worker(MONITOR_SERVICE_URLS=f"web={broken_url}").started()
    await fail_three_tasks(records)
    task = investigate(issue="web is down", project="web", notify=True)

    ended = await records.run(task)

    result = ended.metadata["result"]
    failures = result["observe"]["failures"]
    assert (failures["count"], failures["by_error_class"]) == (3, {"PermanentError": 3})
    assert result["observe"]["versions"]["v1.2.3"]["failed"] == 3
    assert result["observe"]["deployments"][0]["deployment_id"] == live
    rules = [finding["rule"] for finding in result["orient"]["findings"]]
    assert rules[:2] == ["ill_services", "deployments_before_failures"]
    assert {"shared_errors", "dead_letters"} <= set(rules)
    assert result["decide"]["action"]["kind"] == "restore_service"
    alternatives = [action["kind"] for action in result["decide"]["alternatives"]]
    assert alternatives[0] == "roll_back_deployment"
    published, queued = result["act"]["done"]
    assert published == "published health.degraded"
    assert vercel.created == []

    alert = await records.task(queued.removeprefix("queued alert task "))
    told = await records.finished(alert)
    assert (told.status, told.parent_task_id) == ("completed", task.task_id)
    assert "restore web" in str(slack.messages)
    event = await events.published("health.degraded", task_id=task.task_id)
    assert event.payload["recommended"] == "restore web"


async def test_a_rollback_is_proposed_and_not_made(
    records: Records, events: EventLog, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    live = vercel.add_deployment(project="web", target="production")
    await start_worker().started()
    await fail_three_tasks(records)
    task = investigate(issue="web is down")

    result = (await records.run(task)).metadata["result"]

    assert result["decide"]["action"]["parameters"] == {"project": "web", "deployment_id": live}
    assert result["act"]["done"] == ["published health.degraded", "proposed a rollback"]
    assert vercel.created == []
    proposal = await events.published("alert.triggered", task_id=task.task_id)
    assert proposal.priority == "critical"
    assert proposal.payload["alert_type"] == "rollback_proposed"
    assert proposal.payload["deployment_id"] == live


async def test_what_cannot_be_seen_is_told_and_fails_nothing(
    records: Records, start_worker: StartWorker
) -> None:
    # Nobody listens there, and a project that nobody has is asked for.
    await start_worker(VERCEL_API_URL="http://127.0.0.1:9").started()
    task = investigate(issue="anything", project="web")

    ended = await records.run(task)

    result = ended.metadata["result"]
    assert ended.status == "completed"
    assert "could not be reached" in result["observe"]["deployments"]["unseen"]
    (finding,) = result["orient"]["findings"]
    assert finding["rule"] == "blind_spots"
    assert result["decide"]["action"]["kind"] == "look_again"
    assert TOKEN not in str(ended)
