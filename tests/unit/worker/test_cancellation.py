"""Cancelling tasks that do not end at the first attempt."""

import asyncio

import pytest

from opsagent_worker.cancellation import cancel_until_done, finish_first


async def test_a_swallowed_cancellation_is_repeated() -> None:
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

    await cancel_until_done(tasks, again=0.01)

    assert swallowed == 2
    assert all(task.cancelled() for task in tasks)


async def test_tasks_that_have_ended_are_no_trouble() -> None:
    async def nothing() -> None: ...

    task = asyncio.create_task(nothing())
    await task

    await cancel_until_done([task])
    await cancel_until_done([])

    assert not task.cancelled()


async def test_what_must_not_be_broken_off_ends_before_a_cancellation_takes_effect() -> None:
    may_end, ended = asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        await may_end.wait()
        ended = True

    caller = asyncio.create_task(finish_first(work(), patience=30.0))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()

    await asyncio.wait([caller])

    assert caller.cancelled()
    assert ended


async def test_what_does_not_end_in_time_is_broken_off_after_all() -> None:
    broken_off = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()

    caller = asyncio.create_task(finish_first(work(), patience=0.01))
    await asyncio.sleep(0)
    caller.cancel()

    await asyncio.wait([caller])
    await broken_off.wait()

    assert caller.cancelled()


async def test_an_error_is_the_callers_unless_the_caller_is_gone() -> None:
    async def work() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        await finish_first(work(), patience=1.0)

    caller = asyncio.create_task(finish_first(work(), patience=1.0))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])

    assert caller.cancelled()
