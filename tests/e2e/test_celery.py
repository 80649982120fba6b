"""Workers of Celery, in an image that has nothing of ours: from zero by the depth of a list, and back."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from demo import manifests
from demo.images import VERSION
from e2e.arena import NAME, Arena

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parent / "celery_worker"
DATABASE = 7
"""Celery's keys have the same names for everybody."""
WORKERS = 3
TASKS = 12


def celery_image(arena: Arena) -> tuple[str, dict[str, str]]:
    """The image in the cluster's registry, and how an object names it."""
    provider = arena.stage.provider
    image = provider.images.build(FOLDER / "Dockerfile")
    digest = image.rpartition(":")[2]
    reference = provider.publish(image, name="celery-worker", tag=f"{VERSION}-{digest}")
    repository = reference.rpartition(":")[0]
    return reference, {"repository": repository, "tagTemplate": f"{{version}}-{digest}"}


@pytest.fixture
def celery_redis(arena: Arena) -> Iterator["Redis"]:
    """Where Celery's keys are."""
    known = arena.redis.connection_pool.connection_kwargs
    where = {name: known[name] for name in ("host", "port", "password", "decode_responses")}
    with Redis(**where, db=DATABASE) as client:
        client.flushdb()
        yield client
        client.flushdb()


def create(arena: Arena, image: Mapping[str, str]) -> None:
    url = arena.backing.credentials()["REDIS_URL"].removesuffix("/0") + f"/{DATABASE}"
    arena.kubectl.apply(
        manifests.secret(NAME, namespace=arena.namespace, values={"REDIS_URL": url})
    )
    arena.create_worker(
        image=dict(image),
        queue={
            "redis": {"urlFrom": {"secretKeyRef": {"name": NAME, "key": "REDIS_URL"}}},
            "kind": "List",
            "key": "celery",
            "inFlightKey": "unacked",
        },
        scaling={
            "maxReplicas": WORKERS,
            "tasksPerReplica": 2,
            "scaleDown": {"stabilization": "1s", "cooldownToZero": "1s"},
        },
        worker={"args": ["--app=app", "worker", "--concurrency=1"], "drainTimeout": "30s"},
    )
    arena.until_at_rest()


def send(arena: Arena, image: str, *, count: int, gate: str) -> None:
    """Have `app.send_task` called in a pod of the same image."""
    name = f"producer-{gate}"
    secret = {"secretKeyRef": {"name": NAME, "key": "REDIS_URL"}}
    container: dict[str, Any] = {
        "name": "producer",
        "image": image,
        "command": ["python", "-m", "app", str(count), gate],
        "env": [{"name": "REDIS_URL", "valueFrom": secret}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    arena.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": arena.namespace},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
    )
    arena.until(
        lambda: arena.read("get", "pod", name)["status"]["phase"] == "Succeeded",
        f"{count} tasks to be sent",
    )


def queue_status(arena: Arena) -> Mapping[str, int]:
    found: Mapping[str, int] = arena.read("get", "opsagentworker", NAME)["status"]["queue"]
    return found


def test_celery_workers_come_for_tasks_and_go_when_all_are_done(
    arena: Arena, celery_redis: "Redis"
) -> None:
    reference, image = celery_image(arena)
    create(arena, image)

    send(arena, reference, count=TASKS, gate="first")
    arena.until_ready(WORKERS)
    aware = arena.until_condition("TaskAware", "PlainQueue")
    assert aware["status"] == "False"
    assert "celery is a List" in aware["message"]
    # Each worker runs one task and has taken no other: late acknowledgement, prefetch 1.
    running = {"pending": TASKS - WORKERS, "inFlight": WORKERS, "delayed": 0}
    arena.until(lambda: queue_status(arena) == running, f"the status to say {running}")

    celery_redis.set("first", "open")
    arena.until(lambda: celery_redis.hlen("ends") == TASKS, "all tasks to end")
    arena.until_at_rest()

    # A task that runs keeps its worker, although nothing waits.
    send(arena, reference, count=1, gate="second")
    running = {"pending": 0, "inFlight": 1, "delayed": 0}
    arena.until(lambda: queue_status(arena) == running, f"the status to say {running}")
    assert arena.view().desired == 1
    celery_redis.set("second", "open")
    arena.until(lambda: celery_redis.hlen("ends") == TASKS + 1, "the last task to end")
    arena.until_at_rest()

    ends = {str(task): int(str(count)) for task, count in celery_redis.hgetall("ends").items()}
    wanted = [*(f"first-{number}" for number in range(TASKS)), "second-0"]
    assert ends == dict.fromkeys(wanted, 1), json.dumps(ends)
    assert celery_redis.exists("celery", "unacked") == 0
