"""Closes and opens the intake of a queue: sub-second, and before anything happens in Kubernetes."""

from opsagent_operator.model.observed import Unreachable, Worker
from opsagent_operator.observe.queue import Queues
from opsagent_queue import TaskQueue

__all__ = ["set_intake"]


async def set_intake(queues: Queues, worker: Worker, *, paused: bool) -> Unreachable | None:
    """Make the gate say `paused`; returns why that was not possible."""

    async def set_paused(queue: TaskQueue) -> None:
        await queue.set_paused(paused)

    return await queues.use(worker, set_paused)
