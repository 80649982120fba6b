"""The judge of the crash tests: would it notice?"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.journal import Journal, Writer
from benchmarks.tasks import KEYS, fill
from benchmarks.verdict import Verdict, at_rest, judge

pytestmark = pytest.mark.integration


class Scene:
    """Five tasks, and a hand in place of workers."""

    def __init__(self, redis: Redis, folder: Path) -> None:
        self.redis = redis
        self.writer = Writer(folder / "journal")
        self.journal = Journal(folder / "journal")
        self.ids = fill(redis, 5, type_="timed")

    def record(self, task_id: str, status: str, **fields: object) -> None:
        name = KEYS.record(task_id)
        data = json.loads(str(self.redis.hget(name, "data"))) | fields
        self.redis.hset(name, mapping={"status": status, "data": json.dumps(data)})
        self.redis.zrem(KEYS.tasks, task_id)

    def run(self, task_id: str, *, attempt: int = 1) -> None:
        self.writer.begun(task_id, attempt=attempt, seconds=0.0)
        self.writer.ended(task_id, attempt=attempt)

    def complete(self, *ids: str) -> None:
        for task_id in ids:
            self.run(task_id)
            self.record(task_id, "completed")

    def verdict(self) -> Verdict:
        return judge(self.redis, self.journal, self.ids)


@pytest.fixture
def scene(redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        yield Scene(redis, tmp_path)


def test_all_is_well_when_every_task_ran_and_its_record_says_so(scene: Scene) -> None:
    scene.complete(*scene.ids)

    assert scene.verdict() == Verdict(
        tasks=5, lost=[], failed=[], executed_again=0, completed_again=0, attempts_burnt=0
    )
    assert at_rest(scene.redis)


def test_a_task_that_is_in_no_place_is_lost(scene: Scene) -> None:
    gone, *others = scene.ids
    scene.complete(*others)
    scene.redis.zrem(KEYS.tasks, gone)

    assert at_rest(scene.redis)
    assert scene.verdict().lost == [gone]


def test_a_task_whose_record_is_gone_is_lost(scene: Scene) -> None:
    scene.complete(*scene.ids)
    scene.redis.delete(KEYS.record(scene.ids[2]))

    assert scene.verdict().lost == [scene.ids[2]]


def test_a_task_that_still_waits_at_the_end_is_lost(scene: Scene) -> None:
    late, *others = scene.ids
    scene.complete(*others)

    assert not at_rest(scene.redis)
    assert scene.verdict().lost == [late]


def test_a_task_that_was_begun_and_not_ended_is_lost_whatever_its_record_says(scene: Scene) -> None:
    half, *others = scene.ids
    scene.complete(*others)
    scene.writer.begun(half, attempt=1, seconds=0.0)
    scene.record(half, "completed")

    assert scene.verdict().lost == [half]


def test_a_failed_task_is_told_with_its_reason_and_is_not_lost(scene: Scene) -> None:
    broken, *others = scene.ids
    scene.complete(*others)
    scene.record(broken, "failed", error="gave up")

    assert scene.verdict().lost == []
    assert scene.verdict().failed == [f"{broken}: gave up"]


def test_tasks_done_twice_and_attempts_burnt_are_counted(scene: Scene) -> None:
    scene.complete(*scene.ids)
    twice, begun_twice, tried_twice = scene.ids[:3]
    scene.run(twice)
    scene.writer.begun(begun_twice, attempt=1, seconds=0.0)
    scene.record(tried_twice, "completed", retry_count=1)

    found = scene.verdict()
    assert (found.executed_again, found.completed_again, found.attempts_burnt) == (2, 1, 1)


def test_an_attempt_that_the_handler_was_told_of_counts_as_burnt(scene: Scene) -> None:
    scene.complete(*scene.ids)
    scene.run(scene.ids[0], attempt=2)

    assert scene.verdict().attempts_burnt == 1
