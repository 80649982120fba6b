"""Real workers tell people through every channel, and each of them once."""

import hashlib
import hmac
import signal
from collections.abc import Iterator

import pytest

from doubles.loopback import Gate, LoopbackServer, Request, Response
from doubles.pagerduty import PagerDutyDouble
from doubles.slack import SlackDouble
from integration.worker.harness import EventLog, Records, StartWorker, eventually
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "a-secret-of-the-webhook"


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyDouble]:
    with PagerDutyDouble(routing_key=ROUTING_KEY) as double:
        yield double
    assert double.violations == []


@pytest.fixture
def receiver() -> Iterator[LoopbackServer]:
    with LoopbackServer(lambda _request: Response(204, "")) as server:
        yield server


@pytest.fixture
def everywhere(pagerduty: PagerDutyDouble, receiver: LoopbackServer) -> dict[str, str]:
    """The environment of a worker with all channels; Slack's is always there."""
    return {
        "PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
        "PAGERDUTY_EVENTS_URL": pagerduty.url,
        "ALERT_WEBHOOK_URL": f"{receiver.url}/hook",
        "ALERT_WEBHOOK_SECRET": SECRET,
    }


def alert(**payload: object) -> Task:
    said = {"alert_type": "disk", "severity": "critical", "message": "usage > 90 %"}
    return Task.new(type="alert", payload={**said, **payload}, assigned_to="ops", source="system")


def statuses(task: Task) -> dict[str, str]:
    channels = task.metadata["result"]["channels"]
    return {name: channel["status"] for name, channel in channels.items()}


async def test_an_alert_reaches_every_channel_and_is_published(
    records: Records,
    events: EventLog,
    slack: SlackDouble,
    pagerduty: PagerDutyDouble,
    receiver: LoopbackServer,
    start_worker: StartWorker,
    everywhere: dict[str, str],
) -> None:
    worker = await start_worker(**everywhere).started()
    task = alert(service="web-1", details={"free": "3 GiB"})

    ended = await records.run(task)

    assert statuses(ended) == {"slack": "sent", "pagerduty": "sent", "webhook": "sent"}
    assert slack.messages[0]["text"] == "*CRITICAL* disk · web-1\nusage &gt; 90 %"
    assert pagerduty.events[0]["payload"]["severity"] == "critical"
    (request,) = receiver.requests
    assert request.json()["task_id"] == task.task_id
    assert request.headers["x-opsagent-signature"] == _signature(request)
    event = await events.published("alert.triggered", task_id=task.task_id)
    assert event.priority == "critical"
    assert event.payload["channels"]["slack"] == {"status": "sent"}
    told = "".join(worker.output) + str(ended) + str(events.events)
    for secret in (ROUTING_KEY, SECRET, slack.webhook_url):
        assert secret not in told


def _signature(request: Request) -> str:
    signed = request.headers["x-opsagent-timestamp"].encode() + b"." + request.body
    return "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


async def test_the_same_alert_is_sent_once_however_many_workers_are_asked(
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    slack: SlackDouble,
    start_worker: StartWorker,
) -> None:
    for _ in range(2):
        await start_worker().started()
    tasks = [alert() for _ in range(10)]
    for task in tasks:
        await queue.enqueue(task)

    ended = await records.ended(*(task.task_id for task in tasks))

    assert len(slack.messages) == 1
    told = sorted(statuses(task)["slack"] for task in ended)
    assert told == ["deduplicated"] * 9 + ["sent"]
    (sender,) = (task for task in ended if statuses(task)["slack"] == "sent")
    by = {task.metadata["result"]["channels"]["slack"].get("sent_by_task") for task in ended}
    assert by == {None, sender.task_id}
    triggered = [event.task_id for event in events.events if event.event_type == "alert.triggered"]
    assert triggered == [sender.task_id]


async def test_an_alert_is_triggered_resolved_and_triggered_again(
    records: Records,
    slack: SlackDouble,
    pagerduty: PagerDutyDouble,
    start_worker: StartWorker,
    everywhere: dict[str, str],
) -> None:
    await start_worker(**everywhere).started()
    open_alerts = []
    for action in ("trigger", "acknowledge", "resolve", "trigger"):
        task = alert(action=action, dedup_key="disk/web-1", channels=["pagerduty"])
        assert statuses(await records.run(task)) == {"pagerduty": "sent"}
        open_alerts.append(pagerduty.alerts.get("disk/web-1"))

    assert open_alerts == ["triggered", "acknowledged", None, "triggered"]
    assert slack.messages == []


async def test_a_retry_sends_only_to_the_channel_that_failed(
    records: Records,
    events: EventLog,
    slack: SlackDouble,
    pagerduty: PagerDutyDouble,
    receiver: LoopbackServer,
    start_worker: StartWorker,
    everywhere: dict[str, str],
) -> None:
    pagerduty.next_responses = [Response(500, {"status": "error", "message": "try again"})]
    # Without a window each task sends, and knows what it has sent all the same.
    await start_worker(**everywhere, ALERT_DEDUP_WINDOW="0s").started()
    task = alert()

    ended = await records.run(task)

    assert ended.retry_count == 1
    assert statuses(ended) == {"slack": "sent", "pagerduty": "sent", "webhook": "sent"}
    assert (len(slack.messages), len(pagerduty.events), len(receiver.requests)) == (1, 1, 1)
    await events.published("task.completed", task_id=task.task_id)
    assert events.types(task.task_id).count("alert.triggered") == 1


async def test_a_channel_that_is_gone_does_not_fail_the_others(
    records: Records,
    slack: SlackDouble,
    pagerduty: PagerDutyDouble,
    start_worker: StartWorker,
    everywhere: dict[str, str],
) -> None:
    slack.next_responses = [Response(410, "channel_is_archived")]
    await start_worker(**everywhere).started()

    ended = await records.run(alert())

    assert ended.status == "completed"
    assert statuses(ended) == {"slack": "failed", "pagerduty": "sent", "webhook": "sent"}
    assert len(pagerduty.events) == 1
    error = ended.metadata["result"]["channels"]["slack"]["error"]
    assert error.startswith("the Slack webhook answered 410 Gone: channel_is_archived. To mend it,")


async def test_what_no_channel_takes_fails_at_once_and_may_be_sent_again_later(
    records: Records, slack: SlackDouble, start_worker: StartWorker
) -> None:
    slack.next_responses = [Response(404, "no_service")]
    await start_worker().started()

    failed = await records.run(alert())
    taken = await records.run(alert())

    assert (failed.status, failed.retry_count) == ("failed", 0)
    assert "create a new webhook" in str(failed.error)
    assert statuses(taken) == {"slack": "sent"}


async def test_an_alert_whose_worker_dies_while_sending_is_sent_by_the_next(
    queue: TaskQueue, records: Records, gate: Gate, start_worker: StartWorker
) -> None:
    def respond(_request: Request) -> Response:
        gate.pass_through()
        return Response(204, "")

    with LoopbackServer(respond) as receiver:
        environment = {"ALERT_WEBHOOK_URL": receiver.url, "OPSAGENT_LEASE": "500ms"}
        dying = await start_worker(**environment).started()
        task = alert(channels=["webhook"])
        await queue.enqueue(task)
        await eventually(lambda: gate.arrived == 1, what="the request has arrived")
        dying.signal(signal.SIGKILL)
        await start_worker(**environment).started()
        await eventually(lambda: gate.arrived == 2, what="the next worker sends")
        gate.open()

        ended = await records.finished(task)

    assert (ended.status, ended.retry_count) == ("completed", 0)
    assert statuses(ended) == {"webhook": "sent"}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"channels": ["pagerduty"]}, "pagerduty is not configured: set PAGERDUTY_ROUTING_KEY"),
        ({"channels": ["pager"]}, "channels.0: Input should be 'slack', 'pagerduty' or 'webhook'"),
        ({"action": "resolve"}, "send the dedup_key it was triggered with"),
        ({"dedup_key": "x" * 256}, "dedup_key: String should have at most 255 characters"),
        ({"message": " "}, "message: String should have at least 1 character"),
    ],
)
async def test_a_wrong_alert_fails_at_once_and_says_why(
    records: Records, start_worker: StartWorker, payload: dict[str, object], reason: str
) -> None:
    await start_worker().started()

    ended = await records.run(alert(**payload))

    assert (ended.status, ended.retry_count) == ("failed", 0)
    assert reason in str(ended.error)
