"""What happens in the demo: tasks arrive at zero workers, are done, and the workers go again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis

from demo.failure import DemoError
from demo.ledger import Announcements, Tally, fingerprint, take_stock
from demo.producer import Producer
from demo.screen import Frame, Screen
from demo.view import WorkerView, look
from demo.workload import Workload
from devcluster.kubectl import Kubectl
from opsagent_queue import Keys

TICK = 0.5
"""Seconds between two looks."""
SETTLE_TIMEOUT = 120.0
WORK_TIMEOUT = 180.0
REST_TIMEOUT = 90.0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of it. Times in seconds, from before the first task was enqueued."""

    tally: Tally
    doomed: frozenset[str]
    """Tasks that were sent to fail."""
    foreign_touched: frozenset[str]
    done_twice: frozenset[str]
    """Tasks whose end was announced more than once."""
    counted: Mapping[str, int]
    """Counters of the queue that moved meanwhile: rescued, late_finishes…"""
    most_workers: int
    first_start: float | None
    all_workers_ready: float
    all_done: float
    none_left: float

    @property
    def failed_unexpectedly(self) -> Mapping[str, str]:
        return {
            task_id: error
            for task_id, error in self.tally.failed.items()
            if task_id not in self.doomed
        }

    @property
    def complaints(self) -> list[str]:
        """What must not be, in sentences; empty when all is well."""
        found = []
        if self.tally.lost:
            found.append(f"{len(self.tally.lost)} tasks are lost: {_some(self.tally.lost)}")
        if self.foreign_touched:
            found.append(f"tasks of other agents were touched: {_some(self.foreign_touched)}")
        if self.done_twice:
            found.append(f"tasks were done twice: {_some(self.done_twice)}")
        if self.failed_unexpectedly:
            errors = "; ".join(sorted(set(self.failed_unexpectedly.values())))
            found.append(f"{len(self.failed_unexpectedly)} tasks failed: {errors}")
        return found


@dataclass(frozen=True, kw_only=True)
class Show:
    """One worker's queue, looked at from the side of the orchestrator and of `kubectl`."""

    kubectl: Kubectl
    redis: "Redis"
    namespace: str
    name: str
    prefix: str = "orchestrator"

    @property
    def keys(self) -> Keys:
        return Keys(prefix=self.prefix, worker=f"{self.namespace}/{self.name}")

    def until_at_rest(self) -> WorkerView:
        """Wait until the version has proved itself and no pod is left."""
        deadline = time.monotonic() + SETTLE_TIMEOUT
        while not (
            (worker := self._look()).settled and worker.reason == "Idle" and worker.pods == 0
        ):
            _expect_before(
                deadline,
                f"Waited {SETTLE_TIMEOUT:.0f} s for ops-agent to come to rest; it says"
                f" {worker.reason or 'nothing'}, {worker.ready}/{worker.desired} workers",
                self.namespace,
            )
            time.sleep(TICK)
        return worker

    def run(self, workload: Workload, screen: Screen) -> Summary:
        """Enqueue and watch until everything is done and the workers are gone."""
        announcements = Announcements.of(self.redis, self.keys)
        counters_before = self._counters()
        began, began_at = time.monotonic(), datetime.now().astimezone()
        Producer(self.redis, self.prefix).enqueue(workload.orders)
        foreign_before = fingerprint(self.redis, self.keys, workload.foreign)

        most, most_at, done_at = 0, 0.0, None
        while True:
            now = time.monotonic() - began
            announcements.read()
            tally = take_stock(self.redis, self.keys, workload.ours)
            worker = self._look()
            foreign = take_stock(self.redis, self.keys, workload.foreign)
            screen.show(Frame(worker=worker, tally=tally, foreign=len(foreign.waiting)))
            if worker.ready > most:
                most, most_at = worker.ready, now
            if tally.finished and done_at is None:
                done_at = now
            if done_at is not None and worker.desired == worker.pods == 0:
                break
            self._expect_progress(tally, worker, now=now, done_at=done_at)
            time.sleep(TICK)

        announcements.read()
        foreign_after = fingerprint(self.redis, self.keys, workload.foreign)
        first = announcements.first_start
        return Summary(
            tally=take_stock(self.redis, self.keys, workload.ours),
            doomed=workload.doomed,
            foreign_touched=frozenset(
                task_id
                for task_id in workload.foreign
                if foreign_before[task_id] != foreign_after[task_id]
            ),
            done_twice=frozenset(
                task_id for task_id in workload.ours if announcements.ended[task_id] > 1
            ),
            counted={
                name: count - counters_before.get(name, 0)
                for name, count in self._counters().items()
            },
            most_workers=most,
            first_start=None if first is None else (first - began_at).total_seconds(),
            all_workers_ready=most_at,
            all_done=done_at,
            none_left=now,
        )

    def _look(self) -> WorkerView:
        return look(self.kubectl, namespace=self.namespace, name=self.name)

    def _counters(self) -> dict[str, int]:
        found: Mapping[Any, Any] = self.redis.hgetall(self.keys.own("counters"))
        return {str(name): int(value) for name, value in found.items()}

    def _expect_progress(
        self, tally: Tally, worker: WorkerView, *, now: float, done_at: float | None
    ) -> None:
        if tally.lost:
            raise DemoError(f"{len(tally.lost)} tasks are lost: {_some(tally.lost)}")
        if done_at is None and now > WORK_TIMEOUT:
            raise DemoError(
                f"After {now:.0f} s {len(tally.waiting)} tasks wait and {len(tally.running)} run"
                f" ({worker.ready}/{worker.desired} workers, {worker.reason})."
                f"{_where_to_look(self.namespace)}"
            )
        if done_at is not None and now > done_at + REST_TIMEOUT:
            raise DemoError(
                f"{now - done_at:.0f} s after the last task there are still {worker.pods} workers:"
                f" {worker.decision}.{_where_to_look(self.namespace)}"
            )


def _expect_before(deadline: float, text: str, namespace: str) -> None:
    if time.monotonic() > deadline:
        raise DemoError(f"{text}.{_where_to_look(namespace)}")


def _where_to_look(namespace: str) -> str:
    return f" `kubectl describe oaw,pods -n {namespace}` tells more."


def _some(ids: frozenset[str]) -> str:
    listed = sorted(ids)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")  # noqa: PLR2004 - enough to find them
