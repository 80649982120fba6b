"""Cancellation where once is not enough, or at once too soon."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_SECONDS: Final = 1.0

SERVICES_AGAIN_SECONDS: Final = 0.05
"""For what has nothing to tidy up and only waits: a worker that stops should not wait for it either."""


async def cancel_until_done(
    tasks: Iterable["asyncio.Task[None]"], *, again: float = CANCEL_AGAIN_SECONDS
) -> None:
    """Cancels tasks as often as it takes them to end, every `again` seconds.

    Once may not be enough: before Python 3.12 `asyncio.wait_for`, which handlers and libraries use, swallows a cancellation
    that arrives in the very moment in which what it waits for is done.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again)


async def finish_first(work: Coroutine[Any, Any, T], *, patience: float) -> T:
    """The result of `work`, which must not be broken off half-way.

    When the caller is cancelled, however often, `work` goes on for up to `patience` seconds before the cancellation takes
    effect.

    Raises:
        asyncio.CancelledError: the caller was cancelled; whether `work` has ended, and how, is not told.
    """
    job = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        end = asyncio.get_running_loop().time() + patience
        while not job.done() and (left := end - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([job], timeout=left)
        job.cancel()
        job.add_done_callback(_look_at)
        raise


def _look_at(job: "asyncio.Future[Any]") -> None:
    """Asyncio complains about errors that nobody has looked at."""
    if not job.cancelled():
        job.exception()
