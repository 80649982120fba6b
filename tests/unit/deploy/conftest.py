"""The double of Vercel's API, and somebody who runs deploy tasks against it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from doubles.vercel import VercelDouble
from opsagent_worker.vercel import VercelApi
from unit.deploy.attempts import TEAM, TOKEN, Worker


@pytest.fixture
def vercel() -> Iterator[VercelDouble]:
    with VercelDouble(token=TOKEN, team_id=TEAM) as double:
        yield double
    assert double.violations == []


@pytest.fixture
async def worker(vercel: VercelDouble) -> AsyncIterator[Worker]:
    async with httpx.AsyncClient() as client:
        api = VercelApi(client=client, base_url=vercel.url, token=TOKEN, team_id=TEAM)
        yield Worker(client, api)
