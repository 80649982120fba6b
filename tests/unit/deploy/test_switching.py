"""Promotion and rollback: asked for once, waited for, and never taken further by a retry."""

from typing import Any

import pytest

from doubles.loopback import Response
from doubles.vercel import SWITCH_FAILS, SWITCH_GOES_ON, VercelDouble
from opsagent_queue import Task
from opsagent_worker.errors import PermanentError, RetryableError
from unit.deploy.attempts import Worker, deploy_task, until


def promotion(target: str, **payload: Any) -> Task:
    return deploy_task(action="promote", deployment=target, **payload)


def rollback(**payload: Any) -> Task:
    return deploy_task(action="rollback", **payload)


def production(vercel: VercelDouble, count: int) -> list[str]:
    """Deployments that were in production one after the other; the last one is."""
    return [vercel.add_deployment(target="production") for _ in range(count)]


async def test_a_promotion_sends_traffic_to_the_deployment_and_names_both(
    vercel: VercelDouble, worker: Worker
) -> None:
    old, new = production(vercel, 2)

    result = await worker.attempt(promotion(old))

    assert result == {
        "action": "promote",
        "project": "web",
        "environment": "production",
        "project_id": "prj_web",
        "previous_deployment_id": new,
        "deployment_id": old,
        "url": "https://web-dpl-1.vercel.app",
        "inspector_url": "https://vercel.com/team/web/dpl_1",
    }
    assert vercel.production() == old
    assert worker.event_types == ["deploy.started", "deploy.succeeded"]
    assert worker.progress == [
        f"the promote to {old} is {status}" for status in ("pending", "in-progress", "succeeded")
    ]


async def test_what_has_the_traffic_already_is_not_promoted_again(
    vercel: VercelDouble, worker: Worker
) -> None:
    _, current = production(vercel, 2)

    result = await worker.attempt(promotion(current))

    assert (result["deployment_id"], vercel.switches) == (current, [])


async def test_a_retry_of_a_promotion_waits_for_the_one_under_way(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.switch_statuses = SWITCH_GOES_ON
    old, new = production(vercel, 2)
    task = promotion(old)
    async with worker.attempting(task):
        await until(lambda: f"the promote to {old} is in-progress" in worker.progress)

    async with worker.attempting(task) as running:
        await until(lambda: worker.progress.count(f"the promote to {old} is in-progress") == 2)
        vercel.finish_switch()
        result = await running

    assert (result["previous_deployment_id"], result["deployment_id"]) == (new, old)
    assert vercel.switches == [("promote", old)]
    assert worker.event_types == ["deploy.started", "deploy.succeeded"]


async def test_a_promotion_builds_nothing(vercel: VercelDouble, worker: Worker) -> None:
    preview = vercel.add_deployment()

    with pytest.raises(PermanentError, match=r"was not built for production.*action: create"):
        await worker.attempt(promotion(preview))

    assert vercel.switches == []


async def test_only_what_is_ready_takes_traffic(vercel: VercelDouble, worker: Worker) -> None:
    broken = vercel.add_deployment(target="production", state="ERROR")

    with pytest.raises(PermanentError, match="is ERROR: only one that is READY can take"):
        await worker.attempt(promotion(broken))


async def test_another_projects_deployment_takes_no_traffic(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.add_project("shop")
    foreign = vercel.add_deployment(project="shop", target="production")

    with pytest.raises(PermanentError, match=f"{foreign} does not belong to project 'web'"):
        await worker.attempt(promotion(foreign))


@pytest.mark.parametrize("action", ["promote", "rollback"])
async def test_a_switch_that_fails_at_vercel_fails_its_task(
    vercel: VercelDouble, worker: Worker, action: str
) -> None:
    vercel.switch_statuses = SWITCH_FAILS
    old, new = production(vercel, 2)

    with pytest.raises(PermanentError, match="failed: not all of its domains could be assigned"):
        await worker.attempt(deploy_task(action=action, deployment=old))

    assert vercel.production() == new
    assert worker.event_types[-1] == "deploy.failed"


async def test_the_request_before_is_not_taken_for_the_new_one(
    vercel: VercelDouble, worker: Worker
) -> None:
    failed = {
        "type": "promote",
        "fromDeploymentId": "dpl_2",
        "toDeploymentId": "dpl_1",
        "jobStatus": "failed",
        "requestedAt": 1,
    }
    project = {"id": "prj_web", "name": "web", "lastAliasRequest": failed}
    renewed = {
        **project,
        "lastAliasRequest": {**failed, "jobStatus": "succeeded", "requestedAt": 2},
    }
    deployment = {"id": "dpl_1", "readyState": "READY", "target": "production"}
    vercel.next_responses = [
        lambda _: Response(200, project),
        lambda _: Response(200, deployment),
        lambda _: Response(201, ""),
        lambda _: Response(200, project),
        lambda _: Response(200, renewed),
    ]

    await worker.attempt(promotion("dpl_1"))

    assert vercel.next_responses == []


async def test_a_switch_that_takes_too_long_says_that_it_may_yet_happen(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.switch_statuses = ["in-progress"]
    worker.patience = 0.05
    old, _ = production(vercel, 2)

    with pytest.raises(PermanentError, match=r"still in-progress after 0.05 s; Vercel may yet"):
        await worker.attempt(promotion(old))


async def test_a_switch_that_somebody_else_overrides_is_not_fought_over(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.switch_statuses = SWITCH_GOES_ON
    first, second, _ = production(vercel, 3)
    async with worker.attempting(promotion(first)) as running:
        await until(lambda: f"the promote to {first} is in-progress" in worker.progress)
        vercel.switch_by_hand("rollback", second)

        with pytest.raises(PermanentError, match=f"something else since: a rollback to {second}"):
            await running


async def test_while_another_switch_is_under_way_one_is_tried_again(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.switch_statuses = SWITCH_GOES_ON
    first, second, _ = production(vercel, 3)
    vercel.switch_by_hand("rollback", second)

    with pytest.raises(RetryableError, match="409"):
        await worker.attempt(promotion(first))


async def test_a_rollback_goes_to_the_deployment_before_the_current_one(
    vercel: VercelDouble, worker: Worker
) -> None:
    _, before, current = production(vercel, 3)
    vercel.add_deployment(target="production", state="ERROR")

    result = await worker.attempt(rollback())

    assert (result["previous_deployment_id"], result["deployment_id"]) == (current, before)
    assert vercel.production() == before
    assert worker.event_types == ["deploy.rolled_back"]
    assert worker.events[0][1] == result


async def test_a_rollback_goes_to_the_deployment_it_names(
    vercel: VercelDouble, worker: Worker
) -> None:
    oldest, *_ = production(vercel, 3)

    await worker.attempt(rollback(deployment=oldest))

    assert vercel.production() == oldest


async def test_a_second_task_rolls_back_further(vercel: VercelDouble, worker: Worker) -> None:
    oldest, *_ = production(vercel, 3)

    await worker.attempt(rollback())
    await worker.attempt(rollback())

    assert vercel.production() == oldest


async def test_a_retry_does_not_roll_back_further(vercel: VercelDouble, worker: Worker) -> None:
    vercel.switch_statuses = SWITCH_GOES_ON
    _, before, current = production(vercel, 3)
    task = rollback()
    async with worker.attempting(task):
        await until(lambda: f"the rollback to {before} is in-progress" in worker.progress)
    vercel.finish_switch()
    await worker.attempt(promotion(before))  # somebody looks, so that the switch is carried out

    result = await worker.attempt(task)

    assert vercel.production() == before
    assert vercel.switches == [("rollback", before)]
    assert (result["previous_deployment_id"], result["deployment_id"]) == (current, before)


async def test_a_rollback_whose_reply_was_lost_is_known_again(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.replies_to_lose = 1
    _, before, _ = production(vercel, 3)
    task = rollback()

    with pytest.raises(RetryableError):
        await worker.attempt(task)
    await worker.attempt(task)

    assert vercel.switches == [("rollback", before)]
    assert vercel.production() == before


@pytest.mark.parametrize("requested_at", [None, 900_000])
async def test_a_rollback_that_vercel_does_not_show_yet_is_not_asked_for_again(
    vercel: VercelDouble, worker: Worker, requested_at: int | None
) -> None:
    task = rollback()
    somebodys_before = {
        "type": "rollback",
        "fromDeploymentId": "dpl_3",
        "toDeploymentId": "dpl_2",
        "jobStatus": "succeeded",
        "requestedAt": requested_at,
    }
    project = {
        "id": "prj_web",
        "name": "web",
        "rollbackDescription": {
            "description": f"why [task {task.task_id}]",
            "createdAt": 1_000_000,
        },
        "lastAliasRequest": somebodys_before if requested_at else None,
    }
    vercel.next_responses = [lambda _: Response(200, project)]

    with pytest.raises(RetryableError, match="asked for, but cannot be seen yet"):
        await worker.attempt(task)

    assert vercel.switches == []


async def test_a_rollback_sent_again_after_it_failed_goes_to_the_same_deployment(
    vercel: VercelDouble, worker: Worker
) -> None:
    vercel.switch_statuses = SWITCH_FAILS
    _, before, _ = production(vercel, 3)
    task = rollback()
    with pytest.raises(PermanentError):
        await worker.attempt(task)
    vercel.switch_statuses = ("succeeded",)

    await worker.attempt(task)

    assert vercel.switches == [("rollback", before)] * 2
    assert vercel.production() == before


async def test_a_retry_leaves_alone_what_was_promoted_since(
    vercel: VercelDouble, worker: Worker
) -> None:
    _, before, current = production(vercel, 3)
    task = rollback()
    await worker.attempt(task)
    await worker.attempt(promotion(current))

    with pytest.raises(PermanentError, match=f"something else since: a promote to {current}"):
        await worker.attempt(task)

    assert vercel.production() == current
    assert vercel.switches == [("rollback", before), ("promote", current)]


async def test_a_retry_leaves_alone_what_was_at_least_tried_since(
    vercel: VercelDouble, worker: Worker
) -> None:
    _, before, current = production(vercel, 3)
    task = rollback()
    await worker.attempt(task)
    vercel.switch_by_hand("promote", current)
    vercel.finish_switch(status="failed")

    with pytest.raises(PermanentError, match=f"something else since: a promote to {current}"):
        await worker.attempt(task)

    assert vercel.switches == [("rollback", before)]


async def test_two_rollbacks_sent_at_once_go_back_by_one(
    vercel: VercelDouble, worker: Worker
) -> None:
    _, before, _ = production(vercel, 3)
    tasks = [rollback(), rollback()]
    await worker.attempt(tasks[0])

    with pytest.raises(PermanentError, match=f"something else since: a rollback to {before}"):
        await worker.attempt(tasks[1])

    assert vercel.production() == before


async def test_with_nothing_before_it_production_stays(
    vercel: VercelDouble, worker: Worker
) -> None:
    with pytest.raises(PermanentError, match="has nothing in production to roll back"):
        await worker.attempt(rollback())
    production(vercel, 1)
    with pytest.raises(PermanentError, match="has no earlier production deployment to roll back"):
        await worker.attempt(rollback())

    assert vercel.switches == []


async def test_vercel_is_told_why(vercel: VercelDouble, worker: Worker) -> None:
    production(vercel, 2)
    task = rollback(reason="checkout is broken " * 30)

    await worker.attempt(task)

    (description,) = (
        request.query["description"] for request in vercel.requests if request.method == "POST"
    )
    assert description.startswith("checkout is broken ")
    assert description.endswith(f" [task {task.task_id}]")
    assert len(description) == 250
