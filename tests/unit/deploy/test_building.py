"""One task makes one deployment, whatever happens to its attempts; a cancelled task leaves none behind."""

import asyncio
import time

import pytest

from doubles.loopback import Gate, Response
from doubles.vercel import BUILD_FAILS, BUILD_GOES_ON, BUILD_LOG, GIT_SOURCE, VercelDouble
from opsagent_worker.errors import PermanentError, RetryableError
from opsagent_worker.handlers import deploy_build
from opsagent_worker.handlers.deploy_build import TASK_KEY
from unit.deploy.attempts import INTERVAL, TOKEN, Worker, deploy_task, interrupt, until


async def test_a_deployment_is_followed_until_it_is_ready(
    vercel: VercelDouble, worker: Worker
) -> None:
    task = deploy_task(environment="production", gitSource=GIT_SOURCE)

    result = await worker.attempt(task)

    assert result == {
        "action": "create",
        "project": "web",
        "environment": "production",
        "deployment_id": "dpl_1",
        "state": "READY",
        "substate": "PROMOTED",
        "url": "https://web-dpl-1.vercel.app",
        "inspector_url": "https://vercel.com/team/web/dpl_1",
        "aliases_assigned": True,
        "seconds": 42.0,
    }
    assert vercel.created == [
        {
            "name": "web",
            "project": "web",
            "target": "production",
            "gitSource": GIT_SOURCE,
            "meta": {TASK_KEY: task.task_id},
        }
    ]
    # Without it Vercel may answer with a similar deployment that it made for somebody else.
    (creation,) = (request for request in vercel.requests if request.method == "POST")
    assert creation.query["forceNew"] == "1"
    assert worker.event_types == ["deploy.started", "deploy.succeeded"]
    assert worker.events[1][1] == result
    assert worker.progress == [
        f"deployment dpl_1 is {state}" for state in ("QUEUED", "BUILDING", "READY")
    ]


async def test_without_a_source_the_latest_good_one_is_built_again(
    vercel: VercelDouble, worker: Worker
) -> None:
    latest = vercel.add_deployment()
    vercel.add_deployment(target="production")
    vercel.add_deployment(state="ERROR")

    await worker.attempt(deploy_task())

    (created,) = vercel.created
    assert (created["deploymentId"], created["withLatestCommit"]) == (latest, True)
    assert "target" not in created


async def test_a_deployment_named_by_its_url_is_built_again(
    vercel: VercelDouble, worker: Worker
) -> None:
    preview = vercel.add_deployment()

    await worker.attempt(
        deploy_task(deployment=f"web-{preview.replace('_', '-')}.vercel.app", environment="staging")
    )

    (created,) = vercel.created
    assert (created["deploymentId"], created["target"]) == (preview, "staging")
    assert "withLatestCommit" not in created


async def test_with_nothing_to_repeat_a_source_is_asked_for(worker: Worker) -> None:
    with pytest.raises(PermanentError, match="no successful preview deployment to repeat: send a"):
        await worker.attempt(deploy_task())


async def test_an_interrupted_attempt_leaves_its_deployment_to_the_next_one(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.states = BUILD_GOES_ON
    task = deploy_task(gitSource=GIT_SOURCE)
    async with worker.attempting(task):
        await until(lambda: "deployment dpl_1 is BUILDING" in worker.progress)

    assert vercel.cancelled == []
    vercel.finish_builds()
    result = await worker.attempt(task)

    assert result["deployment_id"] == "dpl_1"
    assert len(vercel.created) == 1
    assert worker.event_types == ["deploy.started", "deploy.succeeded"]


async def test_a_deployment_is_found_behind_any_number_of_newer_ones(
    vercel: VercelDouble, worker: Worker
) -> None:
    task = deploy_task(gitSource=GIT_SOURCE)
    own = vercel.add_deployment(meta={TASK_KEY: task.task_id})
    for _ in range(250):
        vercel.add_deployment()

    result = await worker.attempt(task)

    assert result["deployment_id"] == own
    assert vercel.created == []
    assert vercel.count("GET", "/v7/deployments") == 3


async def test_a_creation_whose_reply_was_lost_is_looked_for_before_it_is_repeated(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.replies_to_lose = 1
    task = deploy_task(gitSource=GIT_SOURCE)

    with pytest.raises(RetryableError) as caught:
        await worker.attempt(task)
    result = await worker.attempt(task)

    assert caught.value.retry_after == INTERVAL
    assert result["deployment_id"] == "dpl_1"
    assert len(vercel.created) == 1


async def test_of_two_attempts_that_create_at_the_same_time_one_deployment_stays(
    vercel: VercelDouble, worker: Worker
) -> None:
    gate = Gate()
    vercel.states = BUILD_GOES_ON
    vercel.gate_of = lambda request: gate if request.method == "POST" else None
    task = deploy_task(gitSource=GIT_SOURCE)
    async with worker.attempting(task) as thought_dead, worker.attempting(task) as next_one:
        with gate:
            await until(lambda: gate.arrived == 2)
        await until(lambda: vercel.cancelled != [])
        vercel.finish_builds()
        results = [await thought_dead, await next_one]

    assert [result["deployment_id"] for result in results] == ["dpl_1", "dpl_1"]
    assert (len(vercel.created), vercel.cancelled) == (2, ["dpl_2"])


async def test_a_failed_build_is_explained(vercel: VercelDouble, worker: Worker) -> None:
    vercel.states = BUILD_FAILS

    with pytest.raises(PermanentError) as caught:
        await worker.attempt(deploy_task(gitSource=GIT_SOURCE))

    assert str(caught.value) == (
        'deployment dpl_1 ended as ERROR: Command "npm run build" exited with 1 '
        "(see https://vercel.com/team/web/dpl_1)"
    )
    assert worker.event_types == ["deploy.started", "deploy.failed"]
    failed = worker.events[1][1]
    assert failed["error"] == str(caught.value)
    assert failed["log"] == list(BUILD_LOG)
    assert (failed["project"], failed["deployment_id"]) == ("web", "dpl_1")


async def test_a_task_sent_again_after_a_failed_build_builds_again(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.states = BUILD_FAILS
    task = deploy_task(gitSource=GIT_SOURCE)
    with pytest.raises(PermanentError):
        await worker.attempt(task)
    vercel.states = ("READY",)

    assert (await worker.attempt(task))["deployment_id"] == "dpl_2"


async def test_a_build_whose_domains_cannot_be_assigned_has_failed(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.alias_error = "web.example.com belongs to somebody else"

    with pytest.raises(PermanentError, match=r"ready, but its domains .* belongs to somebody else"):
        await worker.attempt(deploy_task(gitSource=GIT_SOURCE))

    assert worker.event_types[-1] == "deploy.failed"


async def test_a_deployment_is_done_when_its_domains_lead_to_it(
    vercel: VercelDouble, worker: Worker
) -> None:
    task = deploy_task(gitSource=GIT_SOURCE)
    ready = {"id": "dpl_1", "readyState": "READY"}
    vercel.next_responses = [
        lambda _: Response(200, {"deployments": [{**ready, "meta": {TASK_KEY: task.task_id}}]}),
        lambda _: Response(200, {**ready, "aliasAssigned": False}),
        lambda _: Response(200, {**ready, "aliasAssigned": True}),
    ]

    result = await worker.attempt(task)

    assert result["aliases_assigned"] is True
    assert vercel.next_responses == []


async def test_domains_that_never_come_fail_nothing(
    vercel: VercelDouble, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy_build, "_ALIAS_SECONDS", 0.0)
    unaliased = {"id": "dpl_1", "readyState": "READY", "aliasAssigned": False}
    task = deploy_task(gitSource=GIT_SOURCE)
    vercel.next_responses = [
        lambda _: Response(200, {"deployments": [{**unaliased, "meta": {TASK_KEY: task.task_id}}]}),
        lambda _: Response(200, unaliased),
    ]

    assert (await worker.attempt(task))["aliases_assigned"] is False


async def test_a_deployment_that_takes_too_long_is_cancelled_with_its_task(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.states = BUILD_GOES_ON
    worker.patience = 0.05

    with pytest.raises(PermanentError, match=r"was still [A-Z]+ after 0.05 s and has been canc"):
        await worker.attempt(deploy_task(gitSource=GIT_SOURCE))

    assert vercel.cancelled == ["dpl_1"]
    assert worker.events[-1][1]["state"] == "CANCELED"


async def test_passing_trouble_while_waiting_costs_no_attempt(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.states = BUILD_GOES_ON
    async with worker.attempting(deploy_task(gitSource=GIT_SOURCE)) as running:
        await until(lambda: "deployment dpl_1 is BUILDING" in worker.progress)
        vercel.next_responses = [
            lambda _: Response(503, "down"),
            lambda _: Response(429, "slow", {"Retry-After": "0"}),
            lambda _: Response(200, "not what was expected"),
        ]
        await until(lambda: not vercel.next_responses)
        vercel.finish_builds()

        assert (await running)["state"] == "READY"


async def test_lasting_trouble_is_left_to_the_queue(vercel: VercelDouble, worker: Worker) -> None:
    vercel.next_responses = [lambda _: Response(503, "down")] * 20

    with pytest.raises(RetryableError, match="503"):
        await worker.attempt(deploy_task(gitSource=GIT_SOURCE))

    assert len(vercel.next_responses) == 20 - 6


@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Reset"])
async def test_a_rate_limit_is_waited_out_in_the_queue(
    vercel: VercelDouble, worker: Worker, header: str
) -> None:
    wait = 1800 + (time.time() if header == "X-RateLimit-Reset" else 0)
    vercel.next_responses = [lambda _: Response(429, "slow down", {header: f"{wait:.0f}"})]

    with pytest.raises(RetryableError) as caught:
        await worker.attempt(deploy_task(gitSource=GIT_SOURCE))

    assert caught.value.retry_after == pytest.approx(1800, abs=60)


async def test_a_state_nobody_has_heard_of_counts_as_on_the_way(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.next_responses = [
        lambda _: Response(200, {"deployments": [], "pagination": {"next": None}}),
        lambda _: Response(200, {"id": "dpl_9", "readyState": "PROVISIONING"}),
        lambda _: Response(200, {"deployments": [], "pagination": {"next": None}}),
        lambda _: Response(200, {"id": "dpl_9", "readyState": "READY", "aliasAssigned": True}),
    ]

    assert (await worker.attempt(deploy_task(gitSource=GIT_SOURCE)))["state"] == "READY"


async def test_a_cancelled_task_takes_its_deployment_with_it(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.states = BUILD_GOES_ON
    async with worker.attempting(deploy_task(gitSource=GIT_SOURCE)) as running:
        await until(lambda: "deployment dpl_1 is BUILDING" in worker.progress)
        worker.task_cancelled = True

    assert running.cancelled()
    assert vercel.cancelled == ["dpl_1"]
    event_type, payload = worker.events[-1]
    assert event_type == "deploy.failed"
    assert (payload["state"], payload["error"]) == ("CANCELED", "its task was cancelled")


async def test_a_deployment_on_its_way_to_be_created_is_cancelled_as_well(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.states = BUILD_GOES_ON
    with Gate() as gate:
        vercel.gate_of = lambda request: gate if request.method == "POST" else None
        running = asyncio.create_task(worker.attempt(deploy_task(gitSource=GIT_SOURCE)))
        await until(lambda: gate.arrived == 1)
        worker.task_cancelled = True
        running.cancel()
        await asyncio.wait([running], timeout=0.02)
        assert not running.done()

    await interrupt(running)

    assert vercel.cancelled == ["dpl_1"]


async def test_a_creation_that_arrives_at_the_end_of_a_drain_is_told_and_kept(
    vercel: VercelDouble, worker: Worker
) -> None:
    with Gate() as gate:
        vercel.gate_of = lambda request: gate if request.method == "POST" else None
        running = asyncio.create_task(worker.attempt(deploy_task(gitSource=GIT_SOURCE)))
        await until(lambda: gate.arrived == 1)
        running.cancel()

    await interrupt(running)

    assert (len(vercel.created), vercel.cancelled) == (1, [])
    assert worker.event_types == ["deploy.started"]


async def test_a_task_cancelled_before_it_made_anything_cancels_nothing(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.add_deployment(state="BUILDING")
    with Gate() as gate:
        vercel.gate_of = lambda _request: None if gate.arrived else gate
        running = asyncio.create_task(worker.attempt(deploy_task(gitSource=GIT_SOURCE)))
        await until(lambda: gate.arrived == 1)
        worker.task_cancelled = True
        running.cancel()

    await interrupt(running)

    assert (vercel.created, vercel.cancelled) == ([], [])


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "Check that VERCEL_TOKEN is valid, has not expired, and may act for the team in"),
        (403, "Check that VERCEL_TOKEN is valid, has not expired, and may act for the team in"),
        (404, "There is no project 'web' in the team in VERCEL_TEAM_ID"),
    ],
)
async def test_a_refusal_says_what_to_look_at(
    vercel: VercelDouble, worker: Worker, status: int, advice: str
) -> None:
    vercel.next_responses = [lambda _: Response(status, {"error": {"code": "x", "message": "no"}})]

    with pytest.raises(PermanentError) as caught:
        await worker.attempt(deploy_task(gitSource=GIT_SOURCE))

    assert advice in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert worker.event_types == ["deploy.failed"]


async def test_an_unknown_project_is_named(worker: Worker) -> None:
    with pytest.raises(PermanentError, match="There is no project 'wbe' in the team"):
        await worker.attempt(deploy_task(project="wbe", gitSource=GIT_SOURCE))
