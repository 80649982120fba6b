"""A worker without its process, for tests that bring handlers of their own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from opsagent_queue import Task, TaskQueue
from opsagent_worker.cancellation import cancel_until_done
from opsagent_worker.drain import StopSignals
from opsagent_worker.handlers.context import Run, TaskHandler
from opsagent_worker.metrics import Metrics
from opsagent_worker.outcome import Failed
from opsagent_worker.probes import Health
from opsagent_worker.reporter import Report
from opsagent_worker.settings import Settings
from opsagent_worker.worker import WorkerParts

SLOTS: Final = 4


class Errors:
    """The errors behind final failures, and the worker's own."""

    def __init__(self) -> None:
        self.failures: list[Exception | None] = []
        self.faults: list[Exception] = []
        self.fault = self.faults.append

    def reported(self, report: Report, taken: bool) -> None:
        if taken and isinstance(report.outcome, Failed):
            self.failures.append(report.outcome.cause)

    def poisoned(self, tasks: int) -> None:
        self.faults.append(RuntimeError(f"{tasks} poisoned"))


class Bench:
    """A worker whose handlers are the test's own."""

    def __init__(self, queue: TaskQueue, settings: Settings) -> None:
        self.queue = queue
        self.metrics = Metrics()
        self.signals = StopSignals()
        self.errors = Errors()
        self._settings = settings

    def parts(self, handlers: Run | Mapping[str, TaskHandler]) -> WorkerParts:
        """A worker that does not work yet. Its handlers, or the one that runs tasks of type `monitor`."""
        if not isinstance(handlers, Mapping):
            handlers = {"monitor": TaskHandler(type="monitor", run=handlers)}
        return WorkerParts(
            settings=self._settings,
            queue=self.queue,
            renewals=self.queue,
            handlers=handlers,
            metrics=self.metrics,
            health=Health(claim_limit=60),
            signals=self.signals,
            error_reports=self.errors,
        )

    @asynccontextmanager
    async def working(
        self, handlers: Run | Mapping[str, TaskHandler]
    ) -> AsyncIterator[WorkerParts]:
        parts = self.parts(handlers)
        work = asyncio.create_task(parts.work())
        try:
            yield parts
        except BaseException:
            # The test has failed: its handlers may wait for ever.
            await cancel_until_done([work])
            raise
        self.signals.received()
        await work

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    async def enqueue(self, **fields: Any) -> Task:
        task = Task.new(**{"type": "monitor", "payload": {}, "assigned_to": "ops", **fields})
        await self.queue.enqueue(task)
        return task
