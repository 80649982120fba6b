"""The handler, run as a worker runs it; the web is respx."""

import hashlib

import pytest
import respx

from checksum import checksum
from opsagent_worker.testing import run_task

URL = "https://example.com/cat.png"

pytestmark = pytest.mark.asyncio


@respx.mock
async def test_the_content_is_hashed() -> None:
    respx.get(URL).respond(content=b"a cat")

    run = await run_task(checksum, payload={"url": URL})

    assert run.outcome == "completed"
    assert run.result == {"sha256": hashlib.sha256(b"a cat").hexdigest(), "bytes": 5}
    assert run.progress[-1].message == "5 bytes read"


@respx.mock
async def test_what_does_not_exist_is_not_asked_for_again() -> None:
    respx.get(URL).respond(404)

    run = await run_task(checksum, payload={"url": URL})

    assert (run.outcome, run.error) == ("failed", f"there is nothing at {URL}")


@respx.mock
async def test_a_busy_server_is_left_alone_for_a_minute() -> None:
    respx.get(URL).respond(429)

    run = await run_task(checksum, payload={"url": URL}, attempt=2)

    assert (run.outcome, run.retry_after) == ("retry", 60.0)


async def test_a_task_without_its_url_is_refused() -> None:
    run = await run_task(checksum, payload={"uri": URL})

    assert run.outcome == "failed"
    assert run.error == "the payload of this checksum task is wrong: url: Field required"
