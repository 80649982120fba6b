"""The operator while the API server, or the way to it, is broken; and when it is killed itself."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.provider import LocalProvider
from devcluster.roster import Roster
from integration.operator.proxy import ApiProxy
from integration.operator.world import World, eventually
from opsagent_operator.runtime import watches
from opsagent_operator.runtime.main import Operator
from opsagent_operator.runtime.settings import Settings

pytestmark = pytest.mark.integration

KINDS = (
    "opsagentworkers",
    "deployments",
    "controllerrevisions",
    "poddisruptionbudgets",
    "pods",
)


@pytest.fixture
def proxied_world(idle_world: World, proxy: ApiProxy) -> World:
    """A world whose operator reaches the API server through `proxy`, with one settled object."""
    idle_world.operator.start()
    idle_world.operator.wait_until_ready()
    idle_world.create(replicas=1)
    idle_world.until_condition("Ready", "True", "Running")
    assert proxy.open_watches() == dict.fromkeys(KINDS, 1)
    return idle_world


def restarts(world: World) -> float:
    return world.operator.metric("opsagent_operator_watch_restarts_total")


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_event_in_a_watch_starts_the_watches_anew(
    proxied_world: World, proxy: ApiProxy, kind: str
) -> None:
    proxy.send_error(kind, 500)
    eventually(lambda: restarts(proxied_world) == 1)
    eventually(lambda: proxy.open_watches() == dict.fromkeys(KINDS, 1))

    proxied_world.patch(replicas=3)
    proxied_world.until_replicas({"v1.0.0": 3})
    assert proxied_world.operator.get("/healthz").status_code == 200


def test_an_expired_watch_goes_on_with_a_list_and_needs_no_restart(
    proxied_world: World, proxy: ApiProxy
) -> None:
    lists = proxy.requests["deployments"]
    proxy.send_error("deployments", 410)
    eventually(lambda: proxy.requests["deployments"] >= lists + 2)
    eventually(lambda: proxy.open_watches() == dict.fromkeys(KINDS, 1))
    proxied_world.patch(replicas=3)
    proxied_world.until_replicas({"v1.0.0": 3})
    assert restarts(proxied_world) == 0


def test_a_watch_that_sends_nonsense_is_survived(proxied_world: World, proxy: ApiProxy) -> None:
    proxy.send("pods", "this is not JSON\n")
    eventually(lambda: restarts(proxied_world) == 1)
    eventually(lambda: proxy.open_watches() == dict.fromkeys(KINDS, 1))


@pytest.mark.parametrize("status", [503, 500, 429, 403])
def test_refused_requests_are_repeated_until_they_are_served_again(
    proxied_world: World, proxy: ApiProxy, status: int
) -> None:
    proxy.refuse(status)
    eventually(lambda: proxy.open_watches().total() == 0)
    tried = proxy.requests.total()
    eventually(lambda: proxy.requests.total() >= tried + 8)
    assert proxied_world.operator.get("/healthz").status_code == 200

    proxied_world.patch(replicas=3)
    proxy.refuse(None)
    proxied_world.until_replicas({"v1.0.0": 3})
    assert proxied_world.operator.alive
    assert restarts(proxied_world) == 0


def test_what_was_deleted_during_an_outage_is_noticed_after_it(
    proxied_world: World, proxy: ApiProxy
) -> None:
    proxy.go_away()
    (deployment,) = proxied_world.get("deploy")
    proxied_world.run("delete", "deploy", "--all")
    # After a long outage the API server no longer knows what has happened meanwhile.
    proxy.expire(*KINDS)
    proxy.come_back()

    def made_again() -> bool:
        return [found["metadata"]["uid"] for found in proxied_world.get("deploy")] not in (
            [],
            [deployment["metadata"]["uid"]],
        )

    eventually(made_again)


def test_a_definition_that_is_installed_late_is_waited_for(
    idle_world: World, proxy: ApiProxy
) -> None:
    proxy.refuse(404)
    idle_world.operator.start()
    eventually(lambda: proxy.requests.total() >= 1)
    assert idle_world.operator.get("/readyz").status_code == 503
    proxy.refuse(None)
    idle_world.operator.wait_until_ready()
    idle_world.create(replicas=1)
    idle_world.until_replicas({"v1.0.0": 1})


def test_the_operator_outlives_the_api_server(world: World, definition: LocalProvider) -> None:
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")
    with_server_killed(definition, lambda: time.sleep(5))
    assert world.operator.alive
    world.patch(replicas=3)
    world.until_replicas({"v1.0.0": 3})
    assert world.operator.get("/readyz").status_code == 200


def test_an_operator_that_is_killed_at_any_moment_leaves_the_same_end(idle_world: World) -> None:
    world, rng = idle_world, random.Random(20251022)  # noqa: S311 - picks moments
    world.operator.start()
    for round_number in range(1, 6):
        name, replicas = f"round-{round_number}", round_number + 1
        world.create(name)
        world.patch(name, replicas=replicas)
        time.sleep(rng.uniform(0.0, 1.5))  # the random moment
        world.operator.kill()
        world.operator.start()

        def ready(name: str = name, replicas: int = replicas) -> bool:
            return bool(world.worker(name)["status"].get("ready") == f"{replicas}/{replicas}")

        eventually(ready)
        mine = ("-l", f"opsagent.dev/worker={name}")
        assert [found["spec"]["replicas"] for found in world.get("deploy", *mine)] == [replicas]
        assert len(world.get("controllerrevisions", *mine)) == 1
        assert len(world.get("pods", *mine)) == replicas


def with_server_killed(cluster: LocalProvider, meanwhile: Callable[[], None]) -> None:
    """Kill the API server of `cluster`, and start the same again after `meanwhile`."""
    roster = Roster(state=cluster.cluster.instance.state)
    name = "kube-apiserver"
    server = roster.processes()[name]
    command = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")[:-1]
    processes.end([server], grace=0)
    try:
        meanwhile()
    finally:
        roster.remember(name, processes.spawn(command, log=roster.log(name)))
        eventually(cluster.ready, seconds=60)


async def test_a_watch_that_has_ended_without_a_word_is_noticed_and_started_anew(
    idle_world: World, definition: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(definition.kubeconfig))
    monkeypatch.setattr(watches, "GRACE", 0.5)
    settings = Settings(
        watch_namespaces=(idle_world.namespace,),
        http_host="127.0.0.1",
        http_port=0,
        watch_timeout=1,
    )
    operator = Operator(settings)
    running = asyncio.create_task(operator.run())
    try:
        await until(lambda: operator.streams.synced)
        for task in asyncio.all_tasks():
            if task.get_name().startswith("watcher for deployments"):
                task.cancel()
        restarts = "opsagent_operator_watch_restarts_total"
        await until(lambda: operator.metrics.registry.get_sample_value(restarts) == 1)
        begun = asyncio.get_running_loop().time()
        await until(lambda: not operator.streams.silent(asyncio.get_running_loop().time() - begun))
    finally:
        operator.stopping.set()
        await running


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.05)
