"""Threads that run sync handlers."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from opsagent_worker.threads import HandlerThreads

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


@pytest.fixture
def threads() -> Iterator[HandlerThreads]:
    with HandlerThreads(2) as threads:
        yield threads


def run(threads: HandlerThreads, function: Callable[[], Any]) -> "asyncio.Task[Any]":
    return asyncio.create_task(threads.run(function, call_off=lambda: None))


async def test_a_call_returns_what_its_function_does_and_sees_the_callers_contextvars(
    threads: HandlerThreads,
) -> None:
    NAME.set("caller")

    name, thread = await run(threads, lambda: (NAME.get(), threading.current_thread()))

    assert name == "caller"
    assert thread is not threading.current_thread()
    assert thread.daemon


@pytest.mark.parametrize("error", [KeyError("x"), StopIteration(), SystemExit(3)])
async def test_what_the_function_raises_is_raised_where_it_is_waited_for(
    threads: HandlerThreads, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    async def caught() -> BaseException:
        try:
            await threads.run(fail, call_off=lambda: None)
        except BaseException as raised:  # noqa: BLE001 - SystemExit is one of them
            return raised
        raise AssertionError("nothing was raised")

    raised = await caught()
    # Python itself turns a StopIteration that leaves a coroutine into a RuntimeError.
    assert error in {raised, raised.__cause__}


async def test_threads_are_used_again_and_never_more_than_their_number(
    threads: HandlerThreads,
) -> None:
    one_after_another = {await run(threads, threading.get_ident) for _ in range(5)}
    assert len(one_after_another) == 1

    pairs = threading.Barrier(2)

    def meet() -> int:
        pairs.wait()
        return threading.get_ident()

    calls = [run(threads, meet) for _ in range(6)]
    assert len({await call for call in calls}) == 2


async def test_a_cancelled_call_is_told_and_its_end_is_waited_for(threads: HandlerThreads) -> None:
    told, ended = threading.Event(), []

    def until_told() -> str:
        told.wait()
        ended.append("function")
        return "too late"

    async def call() -> str:
        return await threads.run(until_told, call_off=told.set)

    job = asyncio.create_task(call())
    await asyncio.sleep(0)
    job.cancel()

    with pytest.raises(asyncio.CancelledError):
        await job
    assert ended == ["function"]


async def test_a_call_that_ignores_being_cancelled_keeps_its_caller_however_often(
    threads: HandlerThreads,
) -> None:
    told, gate = [], threading.Event()
    job = asyncio.create_task(threads.run(gate.wait, call_off=lambda: told.append(1)))
    await asyncio.sleep(0)

    for _ in range(3):
        job.cancel()
        await asyncio.wait([job], timeout=0.01)
        assert not job.done()
    gate.set()

    with pytest.raises(asyncio.CancelledError):
        await job
    assert told == [1, 1, 1]


async def test_the_limit_of_asyncio_sees_its_own_cancellation_in_a_call(
    threads: HandlerThreads,
) -> None:
    told = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await threads.run(told.wait, call_off=told.set)


async def test_a_thread_that_could_not_be_started_is_not_missed_later(
    threads: HandlerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="can't start"):
                await run(threads, threading.get_ident)

    pairs = threading.Barrier(2, timeout=10)
    calls = [run(threads, pairs.wait) for _ in range(2)]
    assert sorted([await call for call in calls]) == [0, 1]
