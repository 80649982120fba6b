"""Cancelling what talks to Redis."""

import asyncio
from collections.abc import Iterable
from typing import Final

CANCEL_AGAIN_SECONDS: Final = 1.0


async def cancel_until_done(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancels tasks as often as it takes them to end.

    Once may not be enough: before Python 3.12 `asyncio.wait_for`, in which redis-py sends every command, swallows a
    cancellation that arrives in the very moment in which the command has been sent.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
