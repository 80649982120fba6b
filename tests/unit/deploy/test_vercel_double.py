"""The double refuses what the published models do not know, and remembers it: a test that sent it cannot pass."""

from typing import Any

import httpx
import pytest

from doubles.vercel import VercelDouble
from unit.deploy.attempts import TEAM, TOKEN

GITHUB = {"type": "github", "org": "example", "repo": "web", "ref": "main"}


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("POST", "/v13/deployments", {}, {"project": "web", "gitSource": GITHUB}),
        ("POST", "/v13/deployments", {}, {"name": "web", "gitSource": GITHUB, "branch": "main"}),
        ("POST", "/v13/deployments", {}, {"name": "web", "gitSource": {**GITHUB, "ref": None}}),
        ("POST", "/v13/deployments", {}, {"name": "web", "meta": {"attempt": 1}}),
        ("POST", "/v13/deployments", {"forceNew": "true"}, {"name": "web", "gitSource": GITHUB}),
        ("POST", "/v12/deployments", {}, {"name": "web", "gitSource": GITHUB}),
        ("GET", "/v7/deployments", {"meta-opsagentTask": "a"}, None),
        ("GET", "/v7/deployments", {"limit": "many"}, None),
        ("GET", "/v3/deployments/dpl_1/events", {"direction": "down"}, None),
        ("POST", "/v12/deployments/dpl_1/cancel", {}, None),
        ("POST", "/v10/projects/prj_web/promote/dpl_1", {}, {"force": True}),
        ("POST", "/v1/projects/prj_web/rollback/dpl_1", {"description": "x" * 251}, None),
        ("POST", "/v9/projects/prj_web/rollback/dpl_1", {}, None),
    ],
)
async def test_what_the_models_do_not_know_is_a_violation(
    method: str, path: str, query: dict[str, str], body: dict[str, Any] | None
) -> None:
    with VercelDouble(token=TOKEN, team_id=TEAM) as double:
        double.add_deployment(target="production")
        async with httpx.AsyncClient(
            base_url=double.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            params={"teamId": TEAM},
        ) as client:
            await client.request(method, path, params=query, json=body)

        assert any(path in violation for violation in double.violations)
        assert not any("team" in violation for violation in double.violations)
        assert (double.created, double.cancelled) == ([], [])


async def test_a_request_for_another_team_is_a_violation() -> None:
    with VercelDouble(token=TOKEN, team_id=TEAM) as double:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            response = await client.get(f"{double.url}/v7/deployments")

        assert response.status_code == 403
        assert len(double.violations) == 1
