"""Handlers as users might bring them, well behaved and not; the worker of the tests imports this module."""

import asyncio
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from opsagent_queue import EventType
from opsagent_worker import TaskContext, task


class Pause(BaseModel):
    seconds: float


class Journal(BaseModel):
    path: Path
    """What happens is written here, a line each."""

    def write(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{line}\n")


@task("sleep")
def sleep(payload: Pause) -> dict[str, object]:
    time.sleep(payload.seconds)
    return {"slept": payload.seconds}


@task("hog")
def hog(payload: Pause) -> dict[str, object]:
    """Keeps all other threads from running for some hundredths of a second at a time, as a C extension may."""
    end, bursts = time.monotonic() + payload.seconds, 0
    while time.monotonic() < end:
        _ = 3**600_000
        bursts += 1
    return {"bursts": bursts}


@task("oversleep", timeout="200ms")
def oversleep(payload: Pause) -> dict[str, object]:
    time.sleep(payload.seconds)
    return {"slept": payload.seconds}


@task("watchful")
def watchful(payload: Journal, context: TaskContext) -> None:
    """Goes on until it is told to stop."""
    payload.write("started")
    while not context.cancelled:
        time.sleep(0.005)
    payload.write("stopped")


@task("alone", concurrency=1)
def alone(payload: Journal) -> None:
    payload.write("started")
    time.sleep(0.05)
    payload.write("ended")


@task("deaf")
def deaf(payload: Journal) -> None:
    """Never returns, and cannot be told to."""
    payload.write("started")
    threading.Event().wait()


@task("leaves-a-thread")
async def leaves_a_thread(payload: Journal) -> None:
    """Can be interrupted, but what it has started cannot."""
    payload.write("started")
    await asyncio.to_thread(threading.Event().wait)


@task("tell")
def tell(payload: Journal, context: TaskContext) -> None:
    context.log.info("told", path=str(payload.path))
    _ = context.emit(EventType.HEALTH_RECOVERED, {"path": str(payload.path)})


@task("monitor")
async def monitor() -> dict[str, object]:
    return {"by": "the user"}
