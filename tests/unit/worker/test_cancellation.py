"""Cancelling tasks that do not end at the first attempt."""

import asyncio

import pytest

from opsagent_worker import cancellation
from opsagent_worker.cancellation import cancel_until_done


async def test_a_swallowed_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "CANCEL_AGAIN_SECONDS", 0.01)
    swallowed = 0
    started = asyncio.Event()

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                started.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    async def meek() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(meek())]
    await started.wait()

    await cancel_until_done(tasks)

    assert swallowed == 2
    assert all(task.cancelled() for task in tasks)


async def test_tasks_that_have_ended_are_no_trouble() -> None:
    async def nothing() -> None: ...

    task = asyncio.create_task(nothing())
    await task

    await cancel_until_done([task])
    await cancel_until_done([])

    assert not task.cancelled()
