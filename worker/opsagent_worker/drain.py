"""From the signal to stop until nothing runs."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

import structlog

from opsagent_worker.cancellation import (
    CANCEL_AGAIN_SECONDS,
    SERVICES_AGAIN_SECONDS,
    cancel_until_done,
)
from opsagent_worker.consumer import Consumer

log = structlog.get_logger()

# The pod's grace period is the drain timeout and 15 s: both of these fit in, with time left to say goodbye.
_CANCEL_SECONDS: Final = 5.0
_HAND_BACK_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class StopSignals:
    """The first signal asks the worker to drain, a second one to be done at once."""

    drain: asyncio.Event = field(default_factory=asyncio.Event)
    now: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self) -> None:
        (self.now if self.drain.is_set() else self.drain).set()


async def drain(
    consumer: Consumer, claim_loop: "asyncio.Task[None]", *, now: asyncio.Event, patience: float
) -> None:
    """Lets running tasks finish for up to `patience` seconds, or until `now`, then interrupts them.

    Leases must be renewed meanwhile. Returns as soon as nothing runs.
    """
    consumer.stop()
    log.info("draining", running=consumer.busy, patience=patience)
    if await _finished_in_time(consumer, claim_loop, now=now, patience=patience):
        return
    await cancel_until_done([claim_loop], again=SERVICES_AGAIN_SECONDS)
    await interrupt(consumer)


async def interrupt(consumer: Consumer) -> None:
    """Cancels what runs and hands it back, uncounted. Takes 8 s at most."""
    log.warning("tasks are interrupted and handed back", running=consumer.busy)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await _interrupted(consumer)
            return
    log.error("tasks did not end when interrupted, or cannot be reported", tasks=consumer.busy)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HAND_BACK_SECONDS):
            await consumer.abandon()


async def _interrupted(consumer: Consumer) -> None:
    while consumer.busy:
        consumer.interrupt_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_AGAIN_SECONDS):
                await consumer.idle()


async def _finished_in_time(
    consumer: Consumer, claim_loop: "asyncio.Task[None]", *, now: asyncio.Event, patience: float
) -> bool:
    async def finished() -> None:
        # In this order: a claim under way may still bring tasks, which the loop hands back.
        await asyncio.wait([claim_loop])
        await consumer.idle()

    idle, hurry = asyncio.create_task(finished()), asyncio.create_task(now.wait())
    done, pending = await asyncio.wait(
        (idle, hurry), timeout=patience, return_when=asyncio.FIRST_COMPLETED
    )
    for task in pending:
        task.cancel()
    return idle in done
