"""Secrets are read as seldom as possible, and never longer believed than that."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from opsagent_operator.kube.errors import NotFound, Unavailable
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.secrets import TTL, SecretCache

Run = Callable[[Any], Any]
KEY = Key("shop", "redis")


class Server:
    """Answers after a second."""

    def __init__(self) -> None:
        self.value: str | Exception = "one"
        self.reads = 0

    async def read(self, _: Key) -> Mapping[str, Any]:
        self.reads += 1
        answer = self.value
        await asyncio.sleep(1)
        if isinstance(answer, Exception):
            raise answer
        return {"data": {"URL": base64.b64encode(answer.encode()).decode()}}


def test_those_who_ask_at_the_same_moment_share_one_read(run: Run) -> None:
    async def work() -> None:
        server = Server()
        secrets = SecretCache(server.read)
        found = await asyncio.gather(*(secrets.get(KEY) for _ in range(1000)))
        assert found == [{"URL": "one"}] * 1000
        assert server.reads == 1
        await secrets.get(KEY)
        assert server.reads == 1
        await asyncio.sleep(TTL)
        await asyncio.gather(*(secrets.get(KEY) for _ in range(1000)))
        assert server.reads == 2

    run(work())


@pytest.mark.parametrize("failure", [Unavailable("away"), NotFound("gone")])
def test_a_failure_is_everybodys_and_is_not_remembered(run: Run, failure: Exception) -> None:
    async def work() -> None:
        server = Server()
        server.value = failure
        secrets = SecretCache(server.read)
        found = await asyncio.gather(*(secrets.get(KEY) for _ in range(3)), return_exceptions=True)
        assert found == [None if isinstance(failure, NotFound) else failure] * 3
        server.value = "two"
        assert await secrets.get(KEY) == {"URL": "two"}

    run(work())


def test_one_who_gives_up_takes_nothing_from_the_others(run: Run) -> None:
    async def work() -> None:
        server = Server()
        secrets = SecretCache(server.read)
        impatient = asyncio.create_task(secrets.get(KEY))
        patient = asyncio.create_task(secrets.get(KEY))
        await asyncio.sleep(0.5)
        impatient.cancel()
        assert await patient == {"URL": "one"}
        assert server.reads == 1

    run(work())


def test_what_is_being_read_when_it_is_forgotten_is_not_believed(run: Run) -> None:
    async def work() -> None:
        server = Server()
        secrets = SecretCache(server.read)
        early = asyncio.create_task(secrets.get(KEY))
        await asyncio.sleep(0.5)
        secrets.forget(KEY)
        server.value = "two"
        assert await secrets.get(KEY) == {"URL": "two"}
        assert await early == {"URL": "one"}
        assert await secrets.get(KEY) == {"URL": "two"}
        assert server.reads == 2

    run(work())
