"""The producer's program, the same for every library: `enqueue COUNT` or `trickle RATE SECONDS`."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tally import Tally

REDIS_URL = os.environ["BENCHMARK_REDIS_URL"]
TALLY = Tally(Path(os.environ["BENCHMARK_TALLY"]))


def produce(
    *,
    enqueue: Callable[[int], Awaitable[None]],
    send: Callable[[float], Awaitable[object]],
    opened: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Do what the command line says.

    `enqueue` puts that many no-op tasks into the queue, as fast as the library can; `send` one task
    that carries this time. `opened` is awaited first, by libraries that want to be connected.
    """

    async def run(command: str, *numbers: str) -> None:
        if opened is not None:
            await opened()
        if command == "enqueue":
            await enqueue(int(numbers[0]))
        else:
            await _trickle(send, rate=float(numbers[0]), seconds=float(numbers[1]))

    asyncio.run(run(*sys.argv[1:]))


async def _trickle(
    send: Callable[[float], Awaitable[object]], *, rate: float, seconds: float
) -> None:
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(began + number / rate - time.monotonic())
        await send(time.monotonic())
