"""A light cluster comes up from any state it was left in, and leaves nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import processes, testrun
from devcluster.cluster import Cluster, Mode
from devcluster.instance import Instance
from devcluster.listening import listens
from devcluster.processes import Process
from devcluster.roster import Roster

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One apart from the one that other tests share."""
    instance = Instance.of_checkout(Mode.LIGHT, purpose=testrun.purpose(1))
    one = Cluster(instance, Mode.LIGHT)
    yield one
    one.down()


@pytest.fixture
def abandoned(tmp_path: Path) -> Iterator[Cluster]:
    """The cluster of a test run that was killed."""
    run = processes.spawn(["sleep", "infinity"], log=tmp_path / "log")
    processes.end([run], grace=0)
    instance = Instance.of_checkout(Mode.LIGHT, purpose=f"t{run.pid}x{run.started}")
    one = Cluster(instance, Mode.LIGHT)
    yield one
    one.down()


def members(cluster: Cluster) -> list[Process]:
    return list(Roster(state=cluster.instance.state).processes().values())


def test_up_does_nothing_when_the_cluster_runs_and_repairs_it_when_a_part_has_died(
    cluster: Cluster,
) -> None:
    cluster.up()
    first = members(cluster)
    cluster.up()
    assert members(cluster) == first

    processes.end([Roster(state=cluster.instance.state).processes()["kwok"]], grace=0)
    assert not cluster.status().ready
    cluster.up()
    assert cluster.status().ready
    assert [process for process in first if process.alive()] == []


def test_down_leaves_no_process_file_or_port_even_when_it_must_search(cluster: Cluster) -> None:
    cluster.up()
    inside = members(cluster)
    assert listens(cluster.instance.loopback, 6443)
    for file in (cluster.instance.state / "processes").iterdir():
        file.unlink()

    cluster.down()

    assert [process for process in inside if process.alive()] == []
    assert not cluster.instance.state.exists()
    assert not listens(cluster.instance.loopback, 6443)


def test_the_next_test_run_clears_away_what_a_killed_one_left(
    abandoned: Cluster, cluster: Cluster
) -> None:
    abandoned.up()
    cluster.up()
    left = members(abandoned)

    testrun.clear_abandoned()

    assert [process for process in left if process.alive()] == []
    assert not abandoned.instance.state.exists()
    assert cluster.status().ready
