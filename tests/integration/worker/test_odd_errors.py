"""Errors that are themselves out of order end their own task, and no other."""

import pytest

from integration.worker.harness import Records, StartWorker
from opsagent_queue import Task, TaskQueue

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("mumble", "half of one: \ud83d"),
        (
            "panic",
            "gave up after 1 attempt: RuntimeError: handler raised PanicError('out of bounds')",
        ),
    ],
)
async def test_an_odd_error_fails_its_task_and_holds_up_no_other(
    queue: TaskQueue, records: Records, start_awkward: StartWorker, kind: str, error: str
) -> None:
    await start_awkward().started()
    odd = Task.new(type=kind, payload={}, assigned_to="ops", max_retries=0)

    ended = await records.run(odd)
    await records.run(Task.new(type="alert", payload={}, assigned_to="ops"))

    assert (ended.status, ended.error) == ("failed", error)
    assert (await queue.counters()).get("rescued", 0) == 0
    assert (await queue.snapshot()).in_flight == 0
