"""Handlers with bad habits, or with much to say; workers of the tests import this module."""

import asyncio
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from opsagent_queue import EventType
from opsagent_worker import PermanentError, TaskContext, task


class Block(BaseModel):
    seconds: float
    path: Path
    """Made when it begins; where it exists already, nothing is blocked."""


class Door(BaseModel):
    path: Path
    """The handler goes on once this file exists."""


async def _opened(door: Door) -> None:
    while not door.path.exists():  # noqa: ASYNC110 - what is awaited is a file
        await asyncio.sleep(0.005)


@task("block")
async def block(payload: Block) -> None:
    """Blocks the event loop, once: what no async handler should do."""
    if not payload.path.exists():
        payload.path.touch()
        time.sleep(payload.seconds)  # noqa: ASYNC251


class Hang(Door):
    begun: Path
    """Made when it begins; where it exists already, nothing is blocked."""


@task("hang")
async def hang(payload: Hang) -> None:
    """Blocks the event loop, once, for as long as the test wants."""
    if not payload.begun.exists():
        payload.begun.touch()
        while not payload.path.exists():
            time.sleep(0.005)  # noqa: ASYNC251 - the bad habit itself


@task("wait")
async def wait(payload: Door) -> None:
    await _opened(payload)


class PanicError(BaseException):
    """As extensions written in Rust raise it: no `Exception`."""


@task("panic")
async def panic() -> None:
    raise PanicError("out of bounds")


@task("mumble")
async def mumble() -> None:
    """Fails with half a character, as JSON of others may hold it."""
    raise PermanentError("half of one: \ud83d")


@task("chatter")
async def chatter(payload: Door, context: TaskContext) -> None:
    """Says more than anybody wants to hear, and the most important last."""
    for percent in range(100):
        context.progress(percent / 100, f"step {percent}")
    context.progress(0.99, f"token {os.environ['VERCEL_TOKEN']}")
    await _opened(payload)


@task("murmur")
def murmur(payload: Door, context: TaskContext) -> None:
    """Speaks from a thread."""
    context.progress(None, "reading")
    while not payload.path.exists():
        time.sleep(0.005)


@task("indiscreet")
async def indiscreet(context: TaskContext) -> None:
    """Tells every secret it knows to everybody who listens."""
    told = "; ".join(
        [
            f"token {os.environ['VERCEL_TOKEN']}",
            f"hook {os.environ['SLACK_WEBHOOK_URL']}",
            f"redis {os.environ['REDIS_URL']}",
            f"path {urlsplit(os.environ['SLACK_WEBHOOK_URL']).path}",
        ]
    )
    context.log.warning(told, detail=told, nested={told: [told]})
    context.progress(0.5, told)
    await context.emit(EventType.HEALTH_DEGRADED, {told: told, "list": [told]})
    try:
        int(told)
    except ValueError as error:
        raise PermanentError(told) from error
