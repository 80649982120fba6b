"""Real workers on a real Redis, with doubles for what lies outside."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis.asyncio import Redis

from doubles.loopback import Gate, LoopbackServer, Request, Response
from doubles.slack import SlackDouble
from doubles.vercel import VercelDouble
from integration.worker.harness import (
    TEAM,
    TOKEN,
    WORKER,
    Door,
    EventLog,
    Records,
    StartWorker,
    WorkerProcess,
)
from integration.worker.in_process import SLOTS, Bench
from opsagent_queue import TaskQueue
from opsagent_worker.settings import Settings


@pytest.fixture
def queue(client: Redis) -> TaskQueue:
    return TaskQueue(client, worker=WORKER)


@pytest.fixture
def records(client: Redis, queue: TaskQueue) -> Records:
    return Records(client, queue)


@pytest.fixture
async def events(client: Redis) -> AsyncIterator[EventLog]:
    log = EventLog(client)
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
def vercel() -> Iterator[VercelDouble]:
    with VercelDouble(token=TOKEN, team_id=TEAM) as double:
        yield double
    assert double.violations == []


@pytest.fixture
def slack() -> Iterator[SlackDouble]:
    with SlackDouble() as double:
        yield double
    assert double.violations == []


@pytest.fixture
def gate() -> Iterator[Gate]:
    """What a monitor task of `held_url` waits at; opened at the end in any case."""
    with Gate() as gate:
        yield gate


@pytest.fixture
def held_url(gate: Gate) -> Iterator[str]:
    """A URL that answers when the gate opens: a task that runs for as long as the test wants."""

    def respond(_request: Request) -> Response:
        gate.pass_through()
        return Response(200, "ok")

    with LoopbackServer(respond) as server:
        yield server.url


@pytest.fixture
def health_url() -> Iterator[str]:
    """A URL that answers at once."""
    with LoopbackServer(lambda _request: Response(200, "ok")) as server:
        yield server.url


@pytest.fixture
def start_worker(redis_url: str, vercel: VercelDouble, slack: SlackDouble) -> Iterator[StartWorker]:
    """Starts a worker with short times; keyword arguments are further environment variables. All are ended at last."""
    workers: list[WorkerProcess] = []
    numbers = count(1)

    def start(**environment: str) -> WorkerProcess:
        worker = WorkerProcess(
            {
                "REDIS_URL": redis_url,
                "VERCEL_TOKEN": TOKEN,
                "VERCEL_TEAM_ID": TEAM,
                "VERCEL_API_URL": vercel.url,
                "VERCEL_POLL_INTERVAL": "50ms",
                "SLACK_WEBHOOK_URL": slack.webhook_url,
                "OPSAGENT_WORKER": WORKER,
                "OPSAGENT_POD_NAME": f"pod-{next(numbers)}",
                "OPSAGENT_VERSION": "v1.2.3",
                "OPSAGENT_LEASE": "2s",
                "OPSAGENT_RETRY_BACKOFF": "10ms",
                "OPSAGENT_RETRY_MAX_BACKOFF": "50ms",
                "OPSAGENT_HTTP_PORT": "0",
                "WORKER_POLL_INTERVAL": "500ms",
                **environment,
            }
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.destroy()


@pytest.fixture
def start_awkward(start_worker: StartWorker) -> StartWorker:
    """The same, with the handlers of awkward_handlers.py."""

    def start(**environment: str) -> WorkerProcess:
        return start_worker(
            PYTHONPATH=str(Path(__file__).parent),
            WORKER_HANDLERS="awkward_handlers",
            **environment,
        )

    return start


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path / "open")


@pytest.fixture
def bench(queue: TaskQueue, redis_url: str) -> Bench:
    return Bench(
        queue,
        Settings.load(
            {
                "REDIS_URL": redis_url,
                "VERCEL_TOKEN": TOKEN,
                "VERCEL_TEAM_ID": TEAM,
                "OPSAGENT_WORKER": WORKER,
                "OPSAGENT_POD_NAME": "pod-1",
                "OPSAGENT_CONCURRENCY": str(SLOTS),
                "OPSAGENT_LEASE": "6s",
                "OPSAGENT_DRAIN_TIMEOUT": "30s",
                "OPSAGENT_RETRY_BACKOFF": "1ms",
                "OPSAGENT_RETRY_MAX_BACKOFF": "1ms",
            }
        ),
    )
