"""Threads for sync handlers.

Written here because a `ThreadPoolExecutor` joins its threads before the interpreter ends, with no limit: one handler that
hangs would keep the process until it is killed. These are daemon threads; the worker has handed their tasks back before it
ends.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class HandlerThreads:
    """At most `size` threads, each started when no other is free, and used again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = 0
        self._unfinished = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets each thread end after its present call; waits for none."""
        for _ in range(self._started):
            self._jobs.put(None)

    async def run(self, function: Callable[[], T], *, call_off: Callable[[], None]) -> T:
        """What `function` returns or raises, called in a thread and in the caller's contextvars.

        A thread cannot be ended from outside. When this is cancelled, `call_off` is called, in order to tell the
        function, and then the function's end is waited for all the same: only then is there nothing left that acts for
        the caller. What it returned or raised is dropped.
        """
        call = _Call(function)
        done = self._start(call)
        cancelled = False
        while not done.done():
            try:
                await asyncio.shield(done)
            except asyncio.CancelledError:
                cancelled = True
                call_off()
        if cancelled:
            raise asyncio.CancelledError
        return call.outcome()

    def _start(self, call: "_Call[Any]") -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        context = copy_context()

        def finish() -> None:
            self._unfinished -= 1
            if not done.done():
                done.set_result(None)

        def job() -> None:
            context.run(call)
            with contextlib.suppress(RuntimeError):  # the loop has ended without waiting
                loop.call_soon_threadsafe(finish)

        if self._started < min(self._unfinished + 1, self._size):
            # Counted once it runs: there may be no room for one more.
            threading.Thread(
                target=self._work, name=f"handler-{self._started + 1}", daemon=True
            ).start()
            self._started += 1
        self._unfinished += 1
        self._jobs.put(job)
        return done

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # Or the last task, and all it holds, would live until the next one comes.
            del job


class _Call(Generic[T]):
    """A function to be called once, and how that went."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: tuple[T] | None = None
        self._error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._result = (self._function(),)
        except BaseException as error:  # noqa: BLE001 - raised again where the call is waited for
            self._error = error

    def outcome(self) -> T:
        if self._result is not None:
            return self._result[0]
        assert self._error is not None  # noqa: S101 - it has been called
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle that only the collector would end
