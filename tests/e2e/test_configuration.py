"""What is missing is named where the user looks."""

import pytest

from e2e.arena import NAME, Arena

pytestmark = pytest.mark.e2e


def test_a_missing_secret_is_named_and_found_when_it_comes(arena: Arena) -> None:
    arena.create_worker()
    reachable = arena.until_condition("QueueReachable", "SecretNotFound")
    assert reachable["status"] == "False"
    assert NAME in reachable["message"]
    arena.create_secret()
    arena.until_at_rest()


def test_a_missing_setting_of_the_worker_is_named_in_the_object(arena: Arena) -> None:
    arena.create_secret(without="VERCEL_TOKEN")
    arena.create_worker()
    ready = arena.until_condition("Ready", "WorkerCrashing")
    assert "VERCEL_TOKEN" in ready["message"]


def test_no_secret_shows_in_what_the_cluster_tells(arena: Arena) -> None:
    arena.create_resting_worker()
    arena.enqueue(arena.work(seconds=0.1), arena.hold())
    arena.until_started(2)
    credentials = arena.backing.credentials()
    password = credentials["REDIS_URL"].partition("://:")[2].partition("@")[0]
    told = [
        arena.run("get", "oaw,events,deployments,controllerrevisions,pods", "-o", "yaml"),
        arena.run("logs", f"--selector=opsagent.dev/worker={NAME}", "--tail=-1"),
        arena.kubectl.run("logs", "deployment/opsagent-operator", "-n", "opsagent-system"),
    ]
    for secret in (password, credentials["VERCEL_TOKEN"]):
        assert not any(secret in text for text in told)
    arena.release()
    arena.until_done()
