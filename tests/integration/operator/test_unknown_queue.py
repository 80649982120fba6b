"""Everything that can happen to a Redis, done to a real one: unknown is never zero."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from fixtures.redis import RedisServer, free_port
from fixtures.sentinel import FailoverSetup
from integration.operator.observer import Observer
from integration.operator.world import SECRET, WORKER, World, eventually
from opsagent_operator.model.observed import QueueState
from opsagent_queue import Finished, TaskQueue

pytestmark = pytest.mark.integration

TASKS = 3
FALLBACK = 5
LOAD_DELAY_US = 500
"""What each key takes when the server loads its data: nothing where there are a few of them."""
FILLERS = 60_000
"""Keys that take half a minute to load, unless the server is told to hurry."""


@dataclass
class Patient:
    """A queue with three tasks behind a login of its own, and the Redis it is in."""

    world: World
    server: RedisServer
    undo: list[Callable[[], object]] = field(default_factory=list)

    @contextmanager
    def admin(self) -> "Iterator[redis.Redis]":
        with redis.Redis(port=self.server.port, username="admin", password="admins-word") as client:
            yield client

    def execute(self, *commands: str) -> None:
        """Commands of an administrator, one after the other."""
        with self.admin() as client:
            for command in commands:
                client.execute_command(*command.split())  # type: ignore[no-untyped-call] # not annotated there

    def log_in_with(self, login: str) -> None:
        """Write `login` (user:password, or nothing) into the URL in the Secret."""
        self.write_url(self.server.url.replace("://", f"://{login}@" if login else "://"))

    def write_url(self, url: str) -> None:
        patch = {"stringData": {"REDIS_URL": url}}
        self.world.run("patch", "secret", SECRET, "--type=merge", "-p", json.dumps(patch))


@dataclass(frozen=True)
class Failure:
    """One way to break a Redis, and to mend it."""

    reason: str
    """That of condition QueueReachable."""
    advice: str
    """What its message says to do, in part."""
    begin: Callable[[Patient], object]
    end: Callable[[Patient], object]


def _restart_with_much_to_load(patient: Patient) -> None:
    with patient.admin() as client, client.pipeline(transaction=False) as pipe:
        for number in range(FILLERS):
            pipe.set(f"filler:{number}", "x")
        pipe.execute()
    # As one snapshot: from a log of single commands, it would seldom look up to answer.
    patient.execute("BGREWRITEAOF")
    with patient.admin() as client:
        eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    patient.server.kill()
    patient.server.start(wait=False)


def _require_a_password(patient: Patient) -> None:
    patient.log_in_with("")
    patient.execute("CONFIG SET requirepass new-word", "ACL DELUSER ops")


FAILURES: Mapping[str, Failure] = {
    "killed": Failure(
        "ConnectionFailed",
        "check that Redis runs",
        lambda patient: patient.server.kill(),
        lambda patient: patient.server.start(),
    ),
    "frozen": Failure(
        "TimedOut",
        "how busy that Redis is",
        lambda patient: patient.server.freeze(),
        lambda patient: patient.server.thaw(),
    ),
    "another password": Failure(
        "AuthenticationFailed",
        "check user and password",
        lambda patient: patient.execute(
            "ACL SETUSER ops resetpass >new-word", "CLIENT KILL USER ops"
        ),
        lambda patient: patient.log_in_with("ops:new-word"),
    ),
    "a password where there was none": Failure(
        "AuthenticationFailed",
        "check user and password",
        _require_a_password,
        lambda patient: patient.log_in_with(":new-word"),
    ),
    "a right taken away": Failure(
        "AuthenticationFailed",
        "docs/redis.md lists what has to be granted",
        lambda patient: patient.execute("ACL SETUSER ops -zcard"),
        lambda patient: patient.execute("ACL SETUSER ops +zcard"),
    ),
    "a key of another type": Failure(
        "WrongType",
        "key orchestrator:tasks is a string and not a zset",
        lambda patient: patient.execute(
            "RENAME orchestrator:tasks aside", "SET orchestrator:tasks x"
        ),
        lambda patient: patient.execute("RENAME aside orchestrator:tasks"),
    ),
    "loading": Failure(
        "Loading",
        "nothing to do but wait",
        _restart_with_much_to_load,
        lambda patient: patient.execute("CONFIG SET key-load-delay 0"),
    ),
    "a replica": Failure(
        "ReadOnly",
        "point it to the primary",
        lambda patient: patient.execute(f"REPLICAOF 127.0.0.1 {free_port()}"),
        lambda patient: patient.execute("REPLICAOF NO ONE"),
    ),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps its data and its users, and takes its time to load much data."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(
        folder,
        *("--appendonly", "yes", "--appendfsync", "always"),
        *("--key-load-delay", str(LOAD_DELAY_US)),
        *("--loading-process-events-interval-bytes", "1024"),
        *("--user", "admin", "on", ">admins-word", "~*", "&*", "+@all"),
        *("--user", "ops", "on", ">right-word", "~*", "&*", "+@all"),
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(server: RedisServer) -> str:
    return server.url


@pytest.fixture
def patient(shared_world: World, server: RedisServer) -> Patient:
    patient = Patient(shared_world, server)
    patient.log_in_with("ops:right-word")
    return patient


def settle(world: World, **when_unknown: object) -> None:
    """Create an object with as many workers as there are tasks."""
    world.enqueue(TASKS)
    scaling = world.manifest()["spec"]["scaling"]
    world.create(scaling={**scaling, "whenUnknown": when_unknown})
    world.until_replicas({"v1.0.0": TASKS})
    world.until_condition("Ready", "True", "Running")


@pytest.mark.parametrize("name", FAILURES)
def test_nothing_goes_down_while_redis_is_broken_and_all_is_as_before_when_it_is_not(
    patient: Patient, name: str
) -> None:
    world, failure = patient.world, FAILURES[name]
    settle(world, after="4s", replicas=FALLBACK)
    pods = {pod["metadata"]["uid"] for pod in world.get("pods")}

    with world.numbers() as numbers, world.writes() as writes:
        failure.begin(patient)
        told = world.until_condition("QueueReachable", "False", failure.reason)
        assert failure.advice in told["message"]
        assert "-word" not in json.dumps(world.worker())
        world.until_condition("ScalingActive", "False")
        eventually(
            lambda: [
                text
                for reason, text in world.events()
                if reason == "QueueUnreachable" and failure.advice in text
            ]
        )
        world.until_replicas({"v1.0.0": FALLBACK})
        world.until_condition("ScalingActive", "False", "Fallback")
        eventually(lambda: world.worker()["status"]["ready"] == f"{FALLBACK}/{FALLBACK}")
    assert numbers == [TASKS, FALLBACK]
    assert pods <= {pod["metadata"]["uid"] for pod in world.get("pods")}
    assert not [target for _, target in writes if target.startswith("pods")]

    failure.end(patient)
    world.until_condition("QueueReachable", "True")
    world.until_condition("ScalingActive", "True", "QueueDepth")
    world.until_replicas({"v1.0.0": TASKS})
    assert "QueueReachable" in {reason for reason, _ in world.events()}


def test_a_fallback_never_takes_a_worker_away(patient: Patient) -> None:
    world = patient.world
    settle(world, after="0s", replicas=TASKS - 1)
    with world.numbers() as numbers:
        patient.server.kill()
        world.until_condition("QueueReachable", "False", "ConnectionFailed")
        until_visited(world, times=3)
    assert numbers == [TASKS]


def test_a_deployment_deleted_while_the_queue_is_unknown_comes_back_as_it_was(
    patient: Patient,
) -> None:
    world = patient.world
    settle(world)
    patient.server.kill()
    world.until_condition("QueueReachable", "False", "ConnectionFailed")
    world.run("delete", "deploy", "--all")
    world.until_replicas({"v1.0.0": TASKS})


def test_people_decide_even_while_the_queue_is_unknown(patient: Patient) -> None:
    world = patient.world
    settle(world)
    patient.server.kill()
    world.until_condition("QueueReachable", "False", "ConnectionFailed")
    for number in (TASKS + 1, TASKS - 1):
        world.run("scale", f"oaw/{WORKER}", f"--replicas={number}")
        world.until_replicas({"v1.0.0": number})
    world.patch(replicas=None)
    world.until_condition("ScalingActive", "False", "QueueUnknown")
    assert world.replicas() == {"v1.0.0": TASKS - 1}


def test_an_operator_that_starts_while_redis_is_away_takes_nothing_away(patient: Patient) -> None:
    world = patient.world
    settle(world)
    patient.server.kill()
    with world.numbers() as numbers:
        world.operator.kill()
        world.operator.start()
        world.until_condition("QueueReachable", "False", "ConnectionFailed")
        until_visited(world, times=3)
    assert numbers == [TASKS]


def test_a_queue_that_is_empty_since_a_restart_is_not_believed_for_a_while(
    patient: Patient, tmp_path: Path
) -> None:
    world = patient.world
    settle(world, after="1h")
    with world.numbers() as numbers:
        lose_everything(patient.server, tmp_path)
        until_in_doubt(world)
    assert numbers == [TASKS]
    world.patch(scaling={"whenUnknown": {"after": "1s"}})
    world.until_replicas({"v1.0.0": 0})
    world.until_condition("ScalingActive", "True", "QueueDepth")


def test_tasks_end_the_doubt_about_an_empty_queue(patient: Patient, tmp_path: Path) -> None:
    world = patient.world
    settle(world, after="1h")
    lose_everything(patient.server, tmp_path)
    until_in_doubt(world)
    world.enqueue(TASKS + 1)
    world.until_replicas({"v1.0.0": TASKS + 1})
    world.until_condition("ScalingActive", "True", "QueueDepth")


def test_a_queue_that_was_worked_off_around_a_restart_is_believed_to_be_empty(
    patient: Patient,
) -> None:
    world = patient.world
    settle(world, after="1h")
    world.operator.freeze()
    patient.server.kill()
    patient.server.start()
    world.with_queue(work_off)
    world.operator.thaw()
    world.until_replicas({"v1.0.0": 0})
    world.until_condition("ScalingActive", "True", "QueueDepth")
    assert "EmptyAfterRestart" not in {reason for reason, _ in world.events()}


def test_a_failover_to_a_redis_that_has_nothing_is_not_believed_for_a_while(
    shared_world: World, failover: FailoverSetup
) -> None:
    shared_world.redis_url = failover.url()
    Patient(shared_world, failover.servers[0]).write_url(failover.url())
    settle(shared_world, after="1h")
    first, second = failover.servers
    with shared_world.numbers() as numbers:
        first.kill()
        second.kill()
        second.start()  # without what it had; Sentinel makes it the master
        until_in_doubt(shared_world)
    assert numbers == [TASKS]


@pytest.fixture
def failover(tmp_path: Path) -> Iterator[FailoverSetup]:
    folder = tmp_path / "failover"
    folder.mkdir()
    setup = FailoverSetup(folder)
    setup.start()
    yield setup
    setup.stop()


async def work_off(queue: TaskQueue) -> None:
    """As a worker does that was quicker than the operator."""
    claimed = await queue.claim(
        owner="pod", version="v1.0.0", count=TASKS, lease_ms=60_000, token="a-token"
    )
    assert len(claimed.claims) == TASKS
    ended = [
        Finished(lease=claim.lease, status="completed", seconds=0.1) for claim in claimed.claims
    ]
    await queue.finish(ended, version="v1.0.0", result_ttl_ms=60_000)


def lose_everything(server: RedisServer, tmp_path: Path) -> None:
    """As when its disk was replaced."""
    server.kill()
    shutil.rmtree(tmp_path / "redis" / "appendonlydir")
    server.start()


def until_in_doubt(world: World) -> None:
    world.until_condition("ScalingActive", "False", "EmptyAfterRestart")
    eventually(lambda: "EmptyAfterRestart" in {reason for reason, _ in world.events()})
    assert world.condition("QueueReachable")["status"] == "True"
    assert "not believed until" in world.worker()["status"]["decision"]["message"]


async def test_a_snapshot_that_came_too_late_counts_for_nothing(
    observer: Observer, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(await observer.observe(), QueueState)
    monkeypatch.setattr("opsagent_operator.observe.queue.STALE_AFTER", 0.1)
    server.freeze()
    waiting = asyncio.create_task(observer.reason())
    try:
        await asyncio.sleep(0.2)  # it is this time that makes it too old
    finally:
        server.thaw()
    reason, message = await waiting
    assert reason == "Stale"
    assert "check whether the operator gets enough CPU" in message


def until_visited(world: World, *, times: int) -> None:
    visits = world.operator.metric("controller_runtime_reconcile_total")
    eventually(
        lambda: world.operator.metric("controller_runtime_reconcile_total") >= visits + times
    )
