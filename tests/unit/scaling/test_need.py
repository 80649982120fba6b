"""How many workers the queue needs: the calculation, and how it is told."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.world import make_queue, make_spec
from opsagent_operator.decide.need import need

START_TIME = timedelta(seconds=5)
WAIT = {"maxQueueWait": "1m"}


@pytest.mark.parametrize(
    ("sentence", "queue", "spec", "count", "text"),
    [
        (
            "waiting and running tasks both need room",
            {"pending": 12, "in_flight": 3},
            {},
            4,
            "12 due + 3 running / 4 per worker = 4 replicas",
        ),
        (
            "one task is enough for one worker",
            {"pending": 1},
            {},
            1,
            "1 due + 0 running / 4 per worker = 1 replica",
        ),
        (
            "a task that becomes due while a worker starts needs it already",
            {"delayed": 9, "soon": 5},
            {},
            2,
            "0 due + 0 running + 5 due within 5s / 4 per worker = 2 replicas",
        ),
        (
            "a task that becomes due later needs none yet",
            {"delayed": 9},
            {},
            0,
            "0 due + 0 running / 4 per worker = 0 replicas",
        ),
        (
            "the maximum holds however long the queue is",
            {"pending": 1000},
            {},
            10,
            "1000 due + 0 running / 4 per worker = 250 replicas, capped at maxReplicas 10",
        ),
        (
            "the minimum runs without any task",
            {},
            {"scaling": {"minReplicas": 2}},
            2,
            "0 due + 0 running / 4 per worker = 0 replicas, raised to minReplicas 2",
        ),
        (
            "tasksPerReplica goes before the worker's concurrency",
            {"pending": 12},
            {"scaling": {"tasksPerReplica": 2}},
            6,
            "12 due + 0 running / 2 per worker = 6 replicas",
        ),
        (
            "a plain list does not tell what runs, nor when a task is due",
            {"pending": 12, "in_flight": None, "task_aware": False},
            {},
            3,
            "12 waiting / 4 per worker = 3 replicas",
        ),
        (
            "with maxQueueWait alone, run times decide: many short tasks need few workers",
            {"pending": 120, "mean_seconds": 1.5},
            {"scaling": WAIT},
            1,
            "120 due of 1s500ms each / 4 at once within 1m (maxQueueWait) = 1 replica",
        ),
        (
            "with maxQueueWait alone, run times decide: few long tasks need many workers",
            {"pending": 12, "in_flight": 7, "mean_seconds": 90},
            {"scaling": WAIT},
            5,
            "12 due of 1m30s each / 4 at once within 1m (maxQueueWait) = 5 replicas",
        ),
        (
            "with maxQueueWait alone, what runs keeps one worker",
            {"in_flight": 7, "mean_seconds": 90},
            {"scaling": WAIT},
            1,
            "0 due of 1m30s each / 4 at once within 1m (maxQueueWait) = 1 replica",
        ),
        (
            "with maxQueueWait alone, no task keeps no worker",
            {"mean_seconds": 90},
            {"scaling": WAIT},
            0,
            "0 due of 1m30s each / 4 at once within 1m (maxQueueWait) = 0 replicas",
        ),
        (
            "tasks that become due soon will wait too",
            {"pending": 6, "soon": 6, "mean_seconds": 90},
            {"scaling": WAIT},
            5,
            (
                "6 due + 6 due within 5s of 1m30s each / 4 at once within 1m (maxQueueWait)"
                " = 5 replicas"
            ),
        ),
        (
            "until a run time is known the worker's concurrency decides",
            {"pending": 12},
            {"scaling": WAIT},
            3,
            (
                "12 due + 0 running / 4 per worker = 3 replicas, as long as nobody knows how long a"
                " task takes (maxQueueWait)"
            ),
        ),
        (
            "of both rules the one that asks for more wins: the wait",
            {"pending": 12, "mean_seconds": 90},
            {"scaling": {**WAIT, "tasksPerReplica": 6}},
            5,
            "12 due of 1m30s each / 4 at once within 1m (maxQueueWait) = 5 replicas",
        ),
        (
            "of both rules the one that asks for more wins: the number",
            {"pending": 12, "mean_seconds": 90},
            {"scaling": {**WAIT, "tasksPerReplica": 2}},
            6,
            "12 due + 0 running / 2 per worker = 6 replicas",
        ),
    ],
)
def test_what_the_tasks_need(
    sentence: str, queue: dict[str, Any], spec: dict[str, Any], count: int, text: str
) -> None:
    found = need(make_spec(**spec), make_queue(**queue), start_time=START_TIME)
    assert (found.count, found.text) == (count, text), sentence


counts = st.integers(0, 2000)


@given(
    pending=counts,
    in_flight=counts,
    soon=counts,
    more=st.tuples(counts, counts, counts),
    mean=st.one_of(st.none(), st.floats(0, 1000)),
    scaling=st.fixed_dictionaries(
        {},
        optional={
            "tasksPerReplica": st.integers(1, 100),
            "maxQueueWait": st.sampled_from(["1s", "1m", "1h"]),
            "minReplicas": st.integers(0, 10),
            "maxReplicas": st.integers(10, 1000),
        },
    ),
)
def test_more_work_never_needs_fewer_workers(
    pending: int,
    in_flight: int,
    soon: int,
    more: tuple[int, int, int],
    mean: float | None,
    scaling: dict[str, Any],
) -> None:
    spec = make_spec(scaling=scaling)
    less = make_queue(pending=pending, in_flight=in_flight, soon=soon, mean_seconds=mean)
    greater = make_queue(
        pending=pending + more[0],
        in_flight=in_flight + more[1],
        soon=soon + more[2],
        mean_seconds=mean,
    )
    few = need(spec, less, start_time=START_TIME).count
    many = need(spec, greater, start_time=START_TIME).count
    assert spec.scaling.min_replicas <= few <= many <= spec.scaling.max_replicas
    assert many > 0 or sum(more) + pending + in_flight + soon == 0
