"""What a list shows is taken before kopf sees it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from opsagent_operator.runtime.lists import Page, response_class

LIST = {
    "kind": "DeploymentList",
    "apiVersion": "apps/v1",
    "metadata": {"resourceVersion": "77", "continue": "abc", "remainingItemCount": 1},
    "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}],
}


class Taker:
    """Takes lists of deployments."""

    def __init__(self) -> None:
        self.pages: list[Page] = []

    def __call__(self, url: URL, payload: bytes) -> Mapping[str, Any] | None:
        if not url.path.endswith("/deployments"):
            return None
        self.pages.append(Page.read(payload))
        return self.pages[-1].without_items()


@asynccontextmanager
async def served(taker: Taker, *, status: int = 200) -> AsyncIterator[aiohttp.ClientSession]:
    """A session of which every request is answered with `LIST`."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(LIST, status=status)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        async with aiohttp.ClientSession(
            f"http://{host}:{port}", response_class=response_class(taker)
        ) as session:
            yield session
    finally:
        await runner.cleanup()


async def test_kopf_is_shown_where_to_go_on_and_no_object() -> None:
    taker = Taker()
    async with served(taker) as session, session.get("/apis/apps/v1/deployments") as response:
        shown = await response.json()
    assert shown == {"metadata": {"resourceVersion": "77", "continue": "abc"}, "items": []}
    (page,) = taker.pages
    assert [json.loads(bytes(text)) for text in page.items or ()] == LIST["items"]
    assert not page.last


async def test_what_is_not_taken_is_read_as_ever() -> None:
    async with served(Taker()) as session, session.get("/apis/apps/v1") as response:
        assert await response.json() == LIST


async def test_errors_are_kopfs_to_read() -> None:
    taker = Taker()
    async with (
        served(taker, status=403) as session,
        session.get("/apis/apps/v1/deployments") as response,
    ):
        assert await response.json() == LIST
    assert taker.pages == []


def test_a_page_without_objects_or_without_a_next_one() -> None:
    assert Page.read(b'{"metadata": {"resourceVersion": "1"}, "items": null}').last
    assert Page.read(b'{"metadata": {"resourceVersion": "1", "continue": ""}}').last


@pytest.mark.parametrize("payload", [b"", b"<html>", b'{"items": []}', b"[]"])
def test_what_is_no_list_is_an_error(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever text: kopf ends on it and is started anew
        Page.read(payload)
