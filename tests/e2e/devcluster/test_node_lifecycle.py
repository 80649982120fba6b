"""A local node comes up from any state it was left in, and leaves nothing when it is taken down."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import cgroups, netns, processes, testrun
from devcluster.cluster import Cluster, Mode
from devcluster.instance import Instance, state_root
from devcluster.processes import Process
from devcluster.provider import LocalProvider
from devcluster.roster import Roster

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="a local node needs root"),
]


def node(number: int) -> Cluster:
    """One of several clusters of this test run, apart from the one that other tests share."""
    purpose = testrun.purpose(number)
    return Cluster(Instance.of_checkout(Mode.NODE, purpose=purpose), Mode.NODE)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    one = node(1)
    yield one
    one.down()


@pytest.fixture
def second_cluster() -> Iterator[Cluster]:
    two = node(2)
    yield two
    two.down()


def members(cluster: Cluster) -> set[Process]:
    """Every process of the node: components, shims, and those of pods."""
    (first,) = processes.children(Roster(state=cluster.instance.state).processes()["sandbox"])
    namespace = Path(f"/proc/{first.pid}/ns/pid").readlink()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == namespace:
                found.add(int(entry.name))
        except (FileNotFoundError, PermissionError):
            continue  # it has ended, or is the machine's first
    for group in Path("/sys/fs/cgroup").glob(f"**/{cluster.instance.label}/**/cgroup.procs"):
        found |= {int(pid) for pid in group.read_text().split()}
    return {process for pid in found if (process := Process.running(pid))}


def run_a_pod(cluster: Cluster) -> None:
    """Return when a pod runs, with a volume mounted: the image is the one that each node has."""
    kubectl = LocalProvider(cluster).client
    kubectl.run("create", "deployment", "idle", "--image=localhost/pause:1")
    kubectl.run("wait", "deploy/idle", "--for=condition=Available", "--timeout=60s", timeout=90)


def traces(instance: Instance) -> set[str]:
    """What there is on this machine, but for what other clusters on it have."""

    def lines(*command: str) -> list[str]:
        done = subprocess.run(  # noqa: S603 - the commands stand below
            command, check=True, capture_output=True, text=True
        )
        return done.stdout.splitlines()

    found = {f"namespace {entry.name}" for entry in Path("/run/netns").glob("*")}
    found |= {f"link {link['ifname']}" for link in json.loads("".join(lines("ip", "-j", "link")))}
    found |= {f"route {route}" for route in lines("ip", "route", "show", "table", "all")}
    found |= {f"rule {rule}" for rule in lines("iptables-save") if rule.startswith("-")}
    found |= {f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines()}
    found |= {f"group {group}" for group in Path("/sys/fs/cgroup").rglob("opsagent-*")}
    found |= {f"folder {folder}" for folder in state_root().glob("*")}
    for folder in ("/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods"):
        found |= {f"file {file}" for file in Path(folder).rglob("*")}
    others = re.compile(
        rf"(opsagent-dev/\.?|opsagent-)(?!{instance.name})[0-9a-f]{{8}}-"
        rf"|\boa(?!{instance.link[2:]})[0-9a-f]{{12}}\b|/opsagent/images/"
    )
    return {trace for trace in found if not others.search(trace)}


def test_down_leaves_nothing(cluster: Cluster) -> None:
    before = traces(cluster.instance)
    cluster.up()
    run_a_pod(cluster)
    inside = members(cluster)
    assert len(inside) >= 13, "ten components, a shim, and two processes of a pod"
    assert traces(cluster.instance) > before

    cluster.down()

    assert traces(cluster.instance) == before
    assert [process for process in inside if process.alive()] == []
    assert processes.of_folder(cluster.instance.state) == []


def test_up_does_nothing_when_the_cluster_runs(cluster: Cluster) -> None:
    cluster.up()
    roster = Roster(state=cluster.instance.state)
    before = roster.processes()
    cluster.up()
    assert roster.processes() == before
    assert all(process.alive() for process in before.values())


def test_up_repairs_a_cluster_whose_every_process_was_killed(cluster: Cluster) -> None:
    before = traces(cluster.instance)
    cluster.up()
    run_a_pod(cluster)
    # What a node of another make might have left too: a mount of the host in the state folder.
    left = cluster.instance.state / "kubelet" / "left"
    left.mkdir()
    subprocess.run(  # noqa: S603 - nothing in it comes from outside
        ["/usr/bin/mount", "-t", "tmpfs", "tmpfs", left], check=True
    )
    processes.end(members(cluster), grace=0)
    assert not cluster.status().ready
    assert netns.path(cluster.instance).exists()
    assert cgroups.exists(cluster.instance.label)

    cluster.up()
    run_a_pod(cluster)
    cluster.down()

    assert traces(cluster.instance) == before


@pytest.mark.parametrize("component", ["etcd", "containerd", "kubelet", "sandbox"])
def test_up_repairs_a_cluster_that_lost_a_component(cluster: Cluster, component: str) -> None:
    cluster.up()
    lost = Roster(state=cluster.instance.state).processes()[component]
    processes.end([*processes.children(lost), lost], grace=0)
    assert not cluster.status().ready

    cluster.up()

    assert cluster.status().ready


def test_up_repairs_a_start_that_was_cut_short(cluster: Cluster) -> None:
    netns.create(cluster.instance)
    cgroups.create(cluster.instance.label)
    (cluster.instance.state / "log").mkdir(parents=True)

    cluster.up()

    assert cluster.status().ready


def test_down_finds_processes_even_when_their_files_are_gone(cluster: Cluster) -> None:
    cluster.up()
    inside = members(cluster)
    for file in (cluster.instance.state / "processes").iterdir():
        file.unlink()

    cluster.down()

    assert [process for process in inside if process.alive()] == []


def test_two_clusters_run_side_by_side_and_end_apart(
    cluster: Cluster, second_cluster: Cluster
) -> None:
    cluster.up()
    second_cluster.up()
    assert cluster.status().server != second_cluster.status().server
    run_a_pod(cluster)
    run_a_pod(second_cluster)

    cluster.down()

    assert second_cluster.status().ready
    pods = LocalProvider(second_cluster).client.read("get", "pods")
    assert [pod["status"]["phase"] for pod in pods["items"]] == ["Running"]
