"""What became of tasks that were enqueued, from the records and the handlers' journal."""

import json
from collections.abc import Sequence

import msgspec
from redis import Redis

from benchmarks.journal import Journal
from benchmarks.tasks import KEYS


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """No worker and no counter of ours is asked: a task is done when its record and the journal say so."""

    tasks: int
    lost: list[str]
    """Ids without a record at an end, or whose record says completed though no handler came to its end."""
    failed: list[str]
    """Ids whose record says failed, with the reason behind a colon."""
    executed_again: int
    """Tasks begun more than once."""
    completed_again: int
    """Tasks whose handler came to its end more than once."""
    attempts_burnt: int
    """Tasks that were counted as tried more than once."""


def judge(redis: Redis, journal: Journal, ids: Sequence[str]) -> Verdict:
    """Look at each task of `ids`; call it when nothing waits or runs any more."""
    journal.read()
    with redis.pipeline(transaction=False) as pipe:
        for task_id in ids:
            pipe.hmget(KEYS.record(task_id), "status", "data")
        records = dict(zip(ids, pipe.execute(), strict=True))
    lost, failed, burnt = list[str](), list[str](), 0
    for task_id, (status, data) in records.items():
        record = json.loads(data) if data else {}
        if status == "failed":
            failed.append(f"{task_id}: {record['error']}")
        elif status != "completed" or not journal.ends[task_id]:
            lost.append(task_id)
        attempts = [one.attempt for one in journal.beginnings[task_id]]
        burnt += record.get("retry_count", 0) > 0 or max(attempts, default=1) > 1
    known = set(ids)
    return Verdict(
        tasks=len(ids),
        lost=lost,
        failed=failed,
        executed_again=sum(
            times > 1 for task_id, times in journal.executions.items() if task_id in known
        ),
        completed_again=sum(
            times > 1 for task_id, times in journal.ends.items() if task_id in known
        ),
        attempts_burnt=burnt,
    )


def at_rest(redis: Redis) -> bool:
    """Nothing waits, nothing runs, nothing is put off."""
    return not (
        redis.zcard(KEYS.tasks) or redis.scard(KEYS.processing) or redis.zcard(KEYS.own("delayed"))
    )
