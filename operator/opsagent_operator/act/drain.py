"""Marks the workers that are to get no more tasks, before any of them is taken away."""

from collections.abc import Collection

from opsagent_operator.model.observed import Unreachable, Worker
from opsagent_operator.observe.queue import Queues
from opsagent_queue import TaskQueue

__all__ = ["set_marks"]


async def set_marks(queues: Queues, worker: Worker, pods: Collection[str]) -> Unreachable | None:
    """Make `pods` all that have a drain mark; returns why that was not possible."""

    async def set_drain_marks(queue: TaskQueue) -> None:
        await queue.set_drain_marks(pods)

    return await queues.use(worker, set_drain_marks)
