"""Our handlers that benchmarks and crash tests run, written as a user would."""

import asyncio
import os
from functools import cache
from pathlib import Path

from benchmarks.journal import Writer
from benchmarks.peers.tally import Tally
from opsagent_worker import TaskContext, task


@cache
def _tally() -> Tally:
    return Tally(Path(os.environ["BENCHMARK_TALLY"]))


@cache
def _journal() -> Writer:
    return Writer(Path(os.environ["BENCHMARK_JOURNAL"]))


@task("noop")
async def noop(context: TaskContext) -> None:
    """Count itself; a payload with `sent` tells when the producer began to enqueue it."""
    _tally().ran(context.task.payload.get("sent", 0.0))


@task("timed")
async def timed(context: TaskContext) -> None:
    """Take as many `seconds` as the payload says, and write down the beginning and the end."""
    task_id, seconds = context.task.task_id, float(context.task.payload["seconds"])
    _journal().begun(task_id, attempt=context.attempt, seconds=seconds)
    await asyncio.sleep(seconds)
    _journal().ended(task_id, attempt=context.attempt)
