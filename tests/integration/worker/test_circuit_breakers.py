"""Tasks wait for a host that is down, and none of them loses an attempt by it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from doubles.loopback import LoopbackServer, Request, Response
from integration.worker.harness import TEAM, TOKEN, WORKER, Records
from opsagent_queue import Task, TaskQueue
from opsagent_worker.circuit import BreakerPolicy
from opsagent_worker.drain import StopSignals
from opsagent_worker.error_reports import NoErrorReports
from opsagent_worker.handlers.context import TaskContext, TaskHandler
from opsagent_worker.metrics import Metrics
from opsagent_worker.outbound import call, circuit_breakers, new_client
from opsagent_worker.probes import Health
from opsagent_worker.settings import Settings
from opsagent_worker.worker import WorkerParts

pytestmark = pytest.mark.integration

FAILURES = 2


class Api:
    """A remote host that answers as told, and a worker whose only handler calls it."""

    def __init__(self, queue: TaskQueue, settings: Settings) -> None:
        self.status = 200
        self.requests = 0
        self.metrics = Metrics()
        self._queue = queue
        self._settings = settings

    def respond(self, _request: Request) -> Response:
        self.requests += 1
        return Response(self.status, "")

    @asynccontextmanager
    async def worker(self, url: str) -> AsyncIterator[None]:
        breakers = circuit_breakers(self.metrics)
        breakers.policy = BreakerPolicy(failures=FAILURES, first_pause=1.0, probe_patience=0.05)
        async with new_client(version="v1", breakers=breakers) as client:

            async def ask(_context: TaskContext) -> Mapping[str, Any]:
                await call(client, "GET", url, what="the API")
                return {}

            signals = StopSignals()
            parts = WorkerParts(
                settings=self._settings,
                queue=self._queue,
                renewals=self._queue,
                handlers={"monitor": TaskHandler(type="monitor", run=ask)},
                metrics=self.metrics,
                health=Health(claim_limit=60),
                signals=signals,
                error_reports=NoErrorReports(),
            )
            work = asyncio.create_task(parts.work())
            yield
            signals.received()
            await work

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"opsagent_worker_{name}", labels)


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Logs that nobody reads would take longer than the tasks."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("CRITICAL"))
    yield
    structlog.reset_defaults()


@pytest.fixture
def api(queue: TaskQueue, redis_url: str, _quiet: None) -> Api:
    environment = {
        "REDIS_URL": redis_url,
        "VERCEL_TOKEN": TOKEN,
        "VERCEL_TEAM_ID": TEAM,
        "OPSAGENT_WORKER": WORKER,
        "OPSAGENT_POD_NAME": "pod-1",
        "OPSAGENT_RETRY_BACKOFF": "1ms",
        "OPSAGENT_RETRY_MAX_BACKOFF": "1ms",
        "WORKER_POLL_INTERVAL": "200ms",
    }
    return Api(queue, Settings.load(environment))


async def enqueue(queue: TaskQueue, count: int) -> list[Task]:
    """Tasks that have one attempt each."""
    tasks = [
        Task.new(type="monitor", payload={}, assigned_to="ops", max_retries=0) for _ in range(count)
    ]
    for task in tasks:
        await queue.enqueue(task)
    return tasks


async def test_tasks_wait_for_a_host_that_is_down_and_lose_no_attempt(
    queue: TaskQueue, records: Records, api: Api
) -> None:
    api.status = 502
    with LoopbackServer(api.respond) as server:
        host = server.url.removeprefix("http://")
        async with api.worker(server.url):
            first = await enqueue(queue, FAILURES)
            failed = await records.ended(*(task.task_id for task in first))
            assert {task.status for task in failed} == {"failed"}
            assert api.sample("circuit_open", host=host) == 1

            # The host is well again, but nobody knows yet.
            api.status = 200
            waiting = await enqueue(queue, 10)
            ended = await records.ended(*(task.task_id for task in waiting))

    assert {(task.status, task.retry_count) for task in ended} == {("completed", 0)}
    assert api.requests == FAILURES + len(waiting)
    assert api.sample("circuit_open", host=host) == 0
    deferred = api.sample("tasks_retried_total", type="monitor", reason="deferred")
    assert deferred is not None
    assert deferred > 0
