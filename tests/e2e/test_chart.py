"""The chart's promises to those who run it: what an upgrade, an uninstall and an install do to work."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from demo.chart import NAMESPACE, RELEASE
from demo.images import NEXT_VERSION
from demo.stage import Stage
from e2e.arena import Arena

pytestmark = pytest.mark.e2e

Install = Callable[..., None]


@pytest.fixture
def install(stage: Stage) -> Iterator[Install]:
    """Installs or upgrades the operator with more values; afterwards it is as all tests share it."""

    def with_values(**values: Any) -> None:
        stage.operator.install({"image": stage.images.operator_values, **values})

    yield with_values
    with_values()


def metrics(stage: Stage) -> str:
    """What the operator exports, through the chart's own Service."""
    service = f"/api/v1/namespaces/{NAMESPACE}/services/{RELEASE}-metrics:http"
    return stage.provider.client.run("get", "--raw", f"{service}/proxy/metrics")


def answers(stage: Stage) -> Mapping[str, float]:
    """How often the API server has answered the operator, by HTTP status."""
    counted = dict[str, float]()
    for code, count in re.findall(
        r'^rest_client_requests_total\{code="(.+?)".*\} (\S+)$', metrics(stage), re.MULTILINE
    ):
        counted[code] = counted.get(code, 0) + float(count)
    return counted


def create_steady_worker(arena: Arena) -> None:
    """A worker with one pod that stays."""
    arena.create_secret()
    arena.create_worker(scaling={**arena.spec["scaling"], "minReplicas": 1})
    arena.until_ready(1)


def test_workers_go_on_working_while_no_operator_is_installed_and_the_next_one_takes_them_over(
    stage: Stage, arena: Arena, install: Install
) -> None:
    create_steady_worker(arena)
    pods = arena.pods()

    stage.operator.uninstall()
    arena.enqueue(*(arena.work(seconds=0.1) for _ in range(10)))
    assert arena.until_done().failed == {}
    assert arena.pods() == pods

    install()
    arena.patch(replicas=2)
    arena.until_ready(2)
    assert set(pods) < set(arena.pods())


def test_an_upgrade_of_the_operator_leaves_running_workers_alone(
    arena: Arena, install: Install
) -> None:
    create_steady_worker(arena)
    pods = arena.pods()
    arena.enqueue(arena.hold())
    arena.until_started(1)

    install(logLevel="DEBUG")
    arena.patch(replicas=2)
    arena.until_ready(2)
    assert set(pods) < set(arena.pods())

    arena.release()
    assert arena.until_done().failed == {}
    assert arena.journal("started").total() == 1


def test_an_operator_of_one_namespace_does_all_its_work_without_being_refused_anything(
    stage: Stage, arena: Arena, install: Install
) -> None:
    install(watchNamespaces=[arena.namespace])
    create_steady_worker(arena)
    arena.patch(version=NEXT_VERSION)
    arena.until(lambda: arena.view().version == NEXT_VERSION, "the next version to take over")
    arena.enqueue(*(arena.work(seconds=0.1) for _ in range(4)))
    assert arena.until_done().failed == {}

    counted = answers(stage)
    assert counted["200"] > 0
    assert not counted.keys() & {"401", "403"}


@pytest.fixture
def outsider(
    stage: Stage, arena: Arena, install: Install
) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """An OpsAgentWorker outside the arena, which is all that is served; tells how it is now."""
    install(watchNamespaces=[arena.namespace])
    kubectl, place = stage.provider.client, ("--namespace", stage.backing.namespace)
    kubectl.apply(
        {
            "apiVersion": "opsagent.dev/v1alpha1",
            "kind": "OpsAgentWorker",
            "metadata": {"name": "outsider", "namespace": stage.backing.namespace},
            "spec": arena.spec,
        }
    )
    yield lambda: kubectl.read("get", "opsagentworker/outsider", *place)
    kubectl.run("delete", "opsagentworker/outsider", *place)


def test_an_operator_of_one_namespace_leaves_the_others_to_others(
    arena: Arena, outsider: Callable[[], Mapping[str, Any]]
) -> None:
    arena.create_resting_worker()  # later than the outsider, and yet served
    assert outsider()["status"] == {"observedGeneration": -1}


def test_the_workers_image_has_nothing_to_install_or_compile_with_and_cannot_be_written_to(
    arena: Arena,
) -> None:
    create_steady_worker(arena)
    (pod,) = arena.pods()
    probe = (
        "for tool in pip pip3 uv gcc cc make; do command -v $tool; done;"
        " python -c 'import pip' 2>/dev/null && echo pip;"
        " touch /app/x 2>/dev/null && echo writable; id -u"
    )
    printed = arena.kubectl.run("exec", pod, "-n", arena.namespace, "--", "sh", "-c", probe)
    assert printed.split() == ["65532"]
