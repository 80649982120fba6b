"""A handler that tells every secret it knows to everybody: none of them leaves the process."""

import gzip
import json
import signal
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from doubles.loopback import LoopbackServer, Response
from doubles.slack import SlackDouble
from integration.worker.harness import (
    TOKEN,
    EventLog,
    Records,
    StartWorker,
)
from opsagent_queue import Task

pytestmark = pytest.mark.integration

PASSWORD = "p@ss/word of the queue"


@pytest.fixture
async def locked_url(client: Redis, redis_url: str) -> str:
    """The URL of the same Redis for a user of its own, password included."""
    await client.acl_setuser(
        "worker",
        enabled=True,
        passwords=[f"+{PASSWORD}"],
        keys=["*"],
        channels=["*"],
        commands=["+@all"],
    )
    return redis_url.replace("redis://", f"redis://worker:{quote(PASSWORD, safe='')}@")


async def everything_in(client: Redis) -> str:
    """All that Redis holds, as text."""
    contents: list[object] = []
    async for key in client.scan_iter("*"):
        match await client.type(key):
            case "hash":
                contents.append([key, await client.hgetall(key)])
            case "zset":
                contents.append([key, await client.zrange(key, 0, -1)])
            case "list":
                contents.append([key, await client.lrange(key, 0, -1)])
            case "set":
                contents.append([key, sorted(await client.smembers(key))])
            case "string":
                contents.append([key, await client.get(key)])
            case other:
                raise AssertionError(f"look into what is a {other!r} as well: {key!r}")
    return json.dumps(contents, ensure_ascii=False)


async def test_no_secret_leaves_the_process_by_any_way(
    client: Redis,
    records: Records,
    events: EventLog,
    slack: SlackDouble,
    locked_url: str,
    start_awkward: StartWorker,
) -> None:
    with LoopbackServer(lambda _request: Response(200, {})) as sentry:
        dsn = sentry.url.replace("http://", "http://key-of-sentry@") + "/1"
        worker = await start_awkward(
            REDIS_URL=locked_url, SENTRY_DSN=dsn, LOG_LEVEL="DEBUG"
        ).started()
        task = Task.new(type="indiscreet", payload={}, assigned_to="ops")
        ended = await records.run(task)
        await events.published("task.failed", task_id=task.task_id)
        _, metrics = await worker.get("/metrics")
        _, livez = await worker.get("/livez")
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        reports = [gzip.decompress(request.body).decode() for request in sentry.requests]

    places = {
        "the log": "".join(worker.output),
        "events": "\n".join(event.encode() for event in events.events),
        "Redis": await everything_in(client),
        "metrics": metrics + livez,
        "Sentry": "\n".join(reports),
    }
    secrets = {
        "the token": TOKEN,
        "the webhook": slack.webhook_url,
        "the hook's secret": slack.webhook_url.rpartition("/")[2],
        "Redis' URL": locked_url,
        "Redis' password": PASSWORD,
        "Redis' password, quoted": quote(PASSWORD, safe=""),
        "the DSN": dsn,
    }
    found = [
        (what, where) for where, text in places.items() for what, s in secrets.items() if s in text
    ]
    assert found == []
    # It was not silence that kept them.
    assert ended.status == "failed"
    assert str(ended.error).startswith("token [redacted]; hook [redacted]")
    assert len(reports) == 1
    for where in ("the log", "events", "Redis", "Sentry"):
        assert "[redacted]" in places[where], where
