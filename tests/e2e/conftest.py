"""One stage for all end-to-end tests, and an arena on it for each."""

import re
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from demo import manifests
from demo.stage import Stage, set_up
from devcluster.provider import ClusterProvider
from e2e.arena import Arena
from e2e.operator_pod import OperatorPod


@pytest.fixture(scope="session")
def stage(node_cluster: ClusterProvider) -> Stage:
    """A cluster with images, Redis, sandbox and operator."""
    return set_up(node_cluster, namespace="e2e-backing")


@pytest.fixture(scope="session")
def stage_redis(stage: Stage) -> "Iterator[Redis]":
    with stage.backing.redis() as client:
        yield client


@pytest.fixture
def namespace(stage: Stage, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, named after it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    name = f"{words[:40].strip('-')}-{time.monotonic_ns() % 16**6:06x}"
    stage.provider.client.apply(manifests.namespace(name))
    yield name
    stage.provider.client.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def arena(stage: Stage, stage_redis: "Redis", namespace: str) -> Arena:
    """A namespace and a queue in which nothing has been created yet."""
    return Arena(stage=stage, redis=stage_redis, namespace=namespace, backing=stage.backing)


@pytest.fixture
def operator_pod(stage: Stage) -> Iterator[OperatorPod]:
    """The operator's pod, as new: one that was killed before would wait longer each time."""
    pod = OperatorPod(stage.provider)
    yield pod
    pod.renew()
