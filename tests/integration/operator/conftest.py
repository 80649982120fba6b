"""An operator of its own for each test, on a real API server with fake nodes and a real Redis."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devcluster.provider import LocalProvider
from integration.operator.observer import Observer
from integration.operator.proxy import ApiProxy
from integration.operator.world import SECRET, OperatorProcess, World
from opsagent_operator.api.v1alpha1 import GROUP, PLURAL

DEFINITION = Path(__file__).parents[3] / "crds" / f"{GROUP}_{PLURAL}.yaml"


@pytest.fixture(scope="package")
def definition(light_cluster: LocalProvider) -> Iterator[LocalProvider]:
    """A cluster that knows OpsAgentWorker; it is left without it, for suites that install it."""
    kubectl = light_cluster.client
    kubectl.define(f"{PLURAL}.{GROUP}", DEFINITION)
    yield light_cluster
    kubectl.run("delete", "-f", str(DEFINITION))


@pytest.fixture
def namespace(definition: LocalProvider) -> Iterator[str]:
    name = f"operator-{time.monotonic_ns():x}"
    definition.client.run("create", "namespace", name)
    yield name
    definition.client.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def idle_world(
    definition: LocalProvider, namespace: str, redis_url: str, tmp_path: Path
) -> Iterator[World]:
    """A world whose operator has not been started yet."""
    operator = OperatorProcess(
        tmp_path / "operator.log",
        {"KUBECONFIG": str(definition.kubeconfig), "OPSAGENT_WATCH_NAMESPACES": namespace},
    )
    yield _world(definition, namespace, redis_url, operator)
    if operator.alive:
        assert operator.stop() == 0


@pytest.fixture
def world(idle_world: World) -> World:
    """A world whose operator runs and has seen everything."""
    idle_world.operator.start()
    idle_world.operator.wait_until_ready()
    return idle_world


@pytest.fixture(scope="module")
def _shared_operator(
    definition: LocalProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    operator = OperatorProcess(
        tmp_path_factory.mktemp("shared") / "operator.log",
        {
            "KUBECONFIG": str(definition.kubeconfig),
            "OPSAGENT_ACTIVE_POLL": "1",
            "OPSAGENT_IDLE_POLL": "1",
        },
    )
    try:
        operator.start()
        operator.wait_until_ready()
        yield operator
    finally:
        code = operator.stop() if operator.alive else None
    assert code == 0


@pytest.fixture
def shared_world(
    definition: LocalProvider, namespace: str, redis_url: str, _shared_operator: OperatorProcess
) -> Iterator[World]:
    """A world whose operator serves all tests of the module, and looks at objects every second."""
    world = _world(definition, namespace, redis_url, _shared_operator)
    yield world
    world.run("delete", "oaw", "--all")


def _world(
    cluster: LocalProvider, namespace: str, redis_url: str, operator: OperatorProcess
) -> World:
    cluster.client.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {"REDIS_URL": redis_url},
        }
    )
    return World(
        kubectl=cluster.client,
        namespace=namespace,
        redis_url=redis_url,
        audit_log=cluster.audit_log,
        operator=operator,
    )


@pytest.fixture
def proxy(idle_world: World, definition: LocalProvider, tmp_path: Path) -> Iterator[ApiProxy]:
    """What stands between the operator (not started yet) and the API server."""
    between = ApiProxy(definition.kubeconfig, tmp_path)
    between.start()
    idle_world.operator.configure(KUBECONFIG=str(between.kubeconfig))
    yield between
    between.close()


@pytest.fixture
async def observer(redis_url: str) -> AsyncIterator[Observer]:
    """Sees queues in a real Redis, without a cluster."""
    observer = Observer({"redis": {"REDIS_URL": redis_url}})
    yield observer
    await observer.pools.close()
