"""What the sandbox answers, and what its journal remembers: end-to-end tests judge by it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from demo.sandbox import BUILD_SECONDS, PROJECT_THAT_BREAKS, Server

pytestmark = pytest.mark.integration

DEADLINE = 10.0
TEAM = {"teamId": "team_demo"}


@pytest.fixture
def sandbox() -> Iterator[httpx.Client]:
    server = Server(0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.server_port}",
        headers={"Authorization": "Bearer token"},
        trust_env=False,
    ) as client:
        yield client
    server.shutdown()
    thread.join()
    server.server_close()


def noted(sandbox: httpx.Client, task: str) -> Counter[str]:
    journal = sandbox.get("/journal").raise_for_status().json()
    return Counter(entry["what"] for entry in journal if entry.get("task") == task)


def until_noted(sandbox: httpx.Client, task: str, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not noted(sandbox, task)[what]:
        assert time.monotonic() < deadline, f"{task} was not {what}"
        time.sleep(0.01)


def test_a_held_request_is_answered_when_its_gate_opens(sandbox: httpx.Client) -> None:
    answers: list[httpx.Response] = []
    hold = threading.Thread(
        target=lambda: answers.append(sandbox.get("/hold?task=a&gate=g", timeout=DEADLINE))
    )
    hold.start()
    until_noted(sandbox, "a", "started")
    assert noted(sandbox, "a") == {"started": 1}
    sandbox.get("/open/g").raise_for_status()
    hold.join()
    assert answers[0].json() == {"task": "a"}
    assert noted(sandbox, "a") == {"started": 1, "answered": 1}


def test_a_client_that_hangs_up_is_noted_as_gone(sandbox: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        sandbox.get("/hold?task=b&gate=never", timeout=0.1)
    until_noted(sandbox, "b", "abandoned")
    assert noted(sandbox, "b") == {"started": 1, "abandoned": 1}


@pytest.mark.parametrize(("project", "end"), [("shop", "READY"), (PROJECT_THAT_BREAKS, "ERROR")])
def test_a_deployment_goes_through_the_states_of_a_build(
    sandbox: httpx.Client, project: str, end: str
) -> None:
    body = {"name": project, "gitSource": {"type": "github"}, "meta": {"opsagentTask": "t"}}
    made = sandbox.post("/v13/deployments", params=TEAM, json=body).raise_for_status().json()
    assert made["readyState"] == "QUEUED"
    seen, deadline = [made["readyState"]], time.monotonic() + BUILD_SECONDS + DEADLINE
    while seen[-1] != end:
        assert time.monotonic() < deadline
        state = sandbox.get(f"/v13/deployments/{made['id']}", params=TEAM).json()["readyState"]
        seen += [state] if state != seen[-1] else []
        time.sleep(0.05)
    assert seen == ["QUEUED", "BUILDING", end]
    listed = sandbox.get("/v7/deployments", params={**TEAM, "projectId": project, "state": end})
    assert [found["uid"] for found in listed.json()["deployments"]] == [made["id"]]


def test_vercel_refuses_who_has_no_token(sandbox: httpx.Client) -> None:
    refused = sandbox.get("/v7/deployments", params=TEAM, headers={"Authorization": ""})
    assert refused.status_code == 403


def test_slack_refuses_a_flaky_message_once(sandbox: httpx.Client) -> None:
    codes = [sandbox.post("/slack/x", json={"text": "flaky"}).status_code for _ in range(2)]
    assert codes == [503, 200]
