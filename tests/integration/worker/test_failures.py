"""What a real worker does when the other side fails: try again, give up, never lose or repeat a deployment."""

import gzip
import signal

import pytest

from doubles.loopback import LoopbackServer, Response
from doubles.slack import SlackDouble
from doubles.vercel import BUILD_GOES_ON, GIT_SOURCE, VercelDouble
from integration.worker.harness import (
    TOKEN,
    Records,
    StartWorker,
    eventually,
    monitor,
    next_attempt_ms,
)
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration

ALERT = {"alert_type": "disk", "severity": "high", "message": "almost full"}
DEPLOY = {"project": "web", "gitSource": GIT_SOURCE}


async def test_a_passing_failure_is_tried_again_until_it_succeeds(
    records: Records, slack: SlackDouble, start_worker: StartWorker
) -> None:
    slack.next_responses = [Response(503, "down"), Response(429, "slow", {"Retry-After": "0"})]
    worker = await start_worker().started()

    ended = await records.run(Task.new(type="alert", payload=ALERT, assigned_to="ops"))

    assert ended.status == "completed"
    assert ended.retry_count == 2
    assert len(slack.messages) == 1
    retried = 'opsagent_worker_tasks_retried_total{reason="retryable",type="alert"}'
    assert await worker.metric(retried) == 2


async def test_the_wait_a_server_asks_for_is_kept(
    queue: TaskQueue, slack: SlackDouble, start_worker: StartWorker
) -> None:
    slack.next_responses = [Response(429, "slow down", {"Retry-After": "1800"})]
    await start_worker().started()
    await queue.enqueue(Task.new(type="alert", payload=ALERT, assigned_to="ops"))

    assert await next_attempt_ms(queue) > 1_700_000


async def test_a_refusal_fails_the_task_at_once(
    records: Records, slack: SlackDouble, start_worker: StartWorker
) -> None:
    slack.next_responses = [Response(403, "action_prohibited")]
    await start_worker().started()

    ended = await records.run(Task.new(type="alert", payload=ALERT, assigned_to="ops"))

    assert (ended.status, ended.retry_count) == ("failed", 0)
    refused = "the Slack webhook answered 403 Forbidden: action_prohibited"
    assert str(ended.error).startswith(refused)


@pytest.mark.parametrize(
    ("max_retries", "worker_attempts", "attempts"), [(1, "4", 2), (9, "3", 3), (0, "4", 1)]
)
async def test_the_smaller_of_the_tasks_and_the_workers_limit_ends_the_attempts(
    queue: TaskQueue,
    records: Records,
    slack: SlackDouble,
    start_worker: StartWorker,
    max_retries: int,
    worker_attempts: str,
    attempts: int,
) -> None:
    slack.next_responses = [Response(500, "broken")] * 10
    await start_worker(OPSAGENT_RETRY_MAX_ATTEMPTS=worker_attempts).started()
    task = Task.new(type="alert", payload=ALERT, assigned_to="ops", max_retries=max_retries)

    ended = await records.run(task)

    assert ended.status == "failed"
    assert str(ended.error).startswith(f"gave up after {attempts} attempt")
    assert len(slack.next_responses) == 10 - attempts
    assert (await queue.snapshot()).dead == 1


async def test_an_attempt_that_takes_too_long_is_stopped_and_tried_again(
    records: Records, held_url: str, start_worker: StartWorker
) -> None:
    worker = await start_worker(
        OPSAGENT_TASK_TIMEOUT="200ms", OPSAGENT_RETRY_MAX_ATTEMPTS="2"
    ).started()

    ended = await records.run(monitor(held_url))

    assert ended.error == "gave up after 2 attempts: took longer than the 0.2 s a task may take"
    assert (
        await worker.metric('opsagent_worker_tasks_retried_total{reason="timeout",type="monitor"}')
        == 1
    )


async def test_a_deployment_whose_reply_was_lost_is_found_again_and_not_repeated(
    records: Records, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    vercel.replies_to_lose = 1
    await start_worker().started()

    ended = await records.run(Task.new(type="deploy", payload=DEPLOY, assigned_to="ops"))

    assert (ended.status, ended.retry_count) == ("completed", 1)
    assert len(vercel.created) == 1


async def test_a_deployment_outlives_the_worker_that_started_it(
    queue: TaskQueue, records: Records, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    vercel.states = BUILD_GOES_ON
    first = await start_worker().started()
    task = Task.new(type="deploy", payload=DEPLOY, assigned_to="ops")
    await queue.enqueue(task)
    await eventually(lambda: len(vercel.created) == 1, what="the deployment is created")
    first.signal(signal.SIGKILL)
    vercel.finish_builds()

    await start_worker().started()
    ended = await records.finished(task)

    assert ended.status == "completed"
    assert len(vercel.created) == 1


async def test_the_token_appears_nowhere_even_if_the_other_side_repeats_it(
    records: Records, vercel: VercelDouble, start_worker: StartWorker
) -> None:
    vercel.next_responses = [
        lambda request: Response(
            400, {"error": {"code": "bad", "message": f"saw {request.headers['authorization']}"}}
        )
    ]
    worker = await start_worker(LOG_LEVEL="DEBUG").started()

    ended = await records.run(Task.new(type="deploy", payload=DEPLOY, assigned_to="ops"))

    assert ended.error == "the Vercel API answered 400 Bad Request: saw Bearer [redacted] (bad)"
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0
    assert TOKEN not in "".join(worker.output)


async def test_a_final_failure_reaches_sentry_once_and_without_secrets(
    records: Records, slack: SlackDouble, start_worker: StartWorker
) -> None:
    slack.next_responses = [Response(500, f"broken by {TOKEN}")] * 2
    with LoopbackServer(lambda _request: Response(200, {})) as sentry:
        dsn = sentry.url.replace("http://", "http://key@") + "/1"
        worker = await start_worker(SENTRY_DSN=dsn, OPSAGENT_RETRY_MAX_ATTEMPTS="2").started()
        await records.run(Task.new(type="alert", payload=ALERT, assigned_to="ops"))
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        (request,) = sentry.requests

    report = gzip.decompress(request.body).decode()
    assert request.path == "/api/1/envelope/"
    assert "the Slack webhook answered 500" in report
    assert '"release":"v1.2.3"' in report
    assert TOKEN not in report
