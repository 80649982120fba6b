"""Real workers look after targets and tell when their health changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from doubles.loopback import LoopbackServer, Request, Response
from doubles.tls import certificate, tls_server
from integration.worker.harness import EventLog, Records, StartWorker, eventually
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration


class Target:
    """A service whose answer a test decides."""

    status = 200
    body: object = "ok"

    def respond(self, _request: Request) -> Response:
        return Response(self.status, self.body)


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def target_url(target: Target) -> Iterator[str]:
    with LoopbackServer(target.respond) as server:
        yield server.url


@pytest.fixture
def certified_url(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody trusts."""
    with tls_server(certificate(tmp_path, valid_days=5)) as server:
        yield server.url


def monitor(**payload: object) -> Task:
    return Task.new(type="monitor", payload=payload, assigned_to="ops", source="system")


def health_events(events: EventLog, *tasks: Task) -> list[str]:
    ours = {task.task_id for task in tasks}
    return [
        event.event_type
        for event in events.events
        if event.task_id in ours and event.event_type.startswith("health.")
    ]


async def test_a_change_of_health_is_told_once_whoever_looks(
    queue: TaskQueue,
    records: Records,
    events: EventLog,
    start_worker: StartWorker,
    target: Target,
    target_url: str,
) -> None:
    for _ in range(2):
        await start_worker().started()
    tasks: list[Task] = []

    async def look(count: int) -> list[bool]:
        batch = [monitor(url=target_url) for _ in range(count)]
        tasks.extend(batch)
        for task in batch:
            await queue.enqueue(task)
        ended = await records.ended(*(task.task_id for task in batch))
        return sorted(task.metadata["result"]["changed"] for task in ended)

    assert await look(2) == [False, False]
    target.status = 503
    assert await look(5) == [False, False, False, False, True]
    target.status = 200
    assert await look(5) == [False, False, False, False, True]
    target.status = 500
    assert await look(1) == [True]

    expected = ["health.degraded", "health.recovered", "health.degraded"]
    await eventually(
        lambda: health_events(events, *tasks) == expected, what="each change is published once"
    )
    first = next(event for event in events.events if event.event_type == "health.degraded")
    assert first.priority == "high"
    assert first.payload["detail"] == "answered 503 Service Unavailable"


async def test_a_target_that_is_down_at_its_first_check_is_news(
    records: Records, events: EventLog, start_worker: StartWorker
) -> None:
    await start_worker().started()
    task = monitor(url="http://127.0.0.1:9/health")

    ended = await records.run(task)

    assert ended.status == "completed"
    result = ended.metadata["result"]
    assert (result["healthy"], result["status"], result["changed"]) == (False, "unhealthy", True)
    assert result["detail"]
    await eventually(
        lambda: health_events(events, task) == ["health.degraded"], what="it is published"
    )


async def test_every_kind_of_target_is_checked_by_name_and_shows_no_password(
    queue: TaskQueue,
    client: Redis,
    records: Records,
    start_worker: StartWorker,
    target: Target,
    target_url: str,
    redis_url: str,
    certified_url: str,
) -> None:
    await client.acl_setuser(
        "watcher", enabled=True, passwords=["+a-secret-word"], categories=["+@connection"]
    )
    target.body = {"status": "degraded"}
    address = redis_url.removeprefix("redis://")
    port = target_url.rpartition(":")[2]
    services = {
        "cache": f"redis://watcher:a-secret-word@{address}",
        "locked": f"redis://watcher:wrong@{address}",
        "port": f"tcp://127.0.0.1:{port}",
        "mail": certified_url.replace("https", "tls"),
        "shop": certified_url,
    }
    worker = await start_worker(
        MONITOR_SERVICE_URLS=",".join(f"{name}={url}" for name, url in services.items()),
        ORCHESTRATOR_URL=target_url,
    ).started()
    tasks = {name: monitor(service=name) for name in (*services, "orchestrator", "redis")}
    for task in tasks.values():
        await queue.enqueue(task)

    ended = await records.ended(*(task.task_id for task in tasks.values()))

    results = dict(zip(tasks, (task.metadata["result"] for task in ended), strict=True))
    assert {
        name: (result["status"], result["checks"][0]["kind"]) for name, result in results.items()
    } == {
        "cache": ("healthy", "redis"),
        "locked": ("degraded", "redis"),
        "port": ("healthy", "tcp"),
        "mail": ("unhealthy", "certificate"),
        "shop": ("unhealthy", "http"),
        "orchestrator": ("degraded", "orchestrator"),
        "redis": ("healthy", "redis"),
    }
    for certified in (results["mail"], results["shop"]):
        assert certified["checks"][-1]["certificate_days"] == 5
        assert "self-signed certificate" in certified["checks"][-1]["detail"]
    assert "a-secret-word" not in str(results)
    assert "a-secret-word" not in "".join(worker.output)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"service": "nobody"}, "service 'nobody' is not known (known: redis)"),
        ({"url": "file:///etc/passwd"}, "only http, https, tcp"),
        ({"url": "http://user:word@127.0.0.1/"}, "must not contain a user or password"),
    ],
)
async def test_what_cannot_be_checked_fails_at_once_and_says_what_can(
    records: Records, start_worker: StartWorker, payload: dict[str, object], reason: str
) -> None:
    await start_worker().started()

    ended = await records.run(monitor(**payload))

    assert (ended.status, ended.retry_count) == ("failed", 0)
    assert reason in str(ended.error)
