"""A container's limits are found wherever the kernel shows them, and usage is told as percent of them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from opsagent_worker.cgroup import Container, ContainerUsage

MIB = 1 << 20
NONE = ContainerUsage()


class Machine:
    """A made-up /proc and /sys, and a clock that moves only when told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    def container(self) -> Container:
        return Container(self.root, clock=lambda: self.now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def v2(
    folder: str = "sys/fs/cgroup", *, cpu: str = "max 100000", memory: str = "max"
) -> dict[str, str]:
    return {
        f"{folder}/cpu.max": cpu,
        f"{folder}/cpu.stat": "usage_usec 1000000\nuser_usec 1\nsystem_usec 1",
        f"{folder}/memory.max": memory,
        f"{folder}/memory.current": str(100 * MIB),
        f"{folder}/memory.stat": f"anon 1\ninactive_file {20 * MIB}\nactive_file 1",
    }


IN_CONTAINER = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cgroup.controllers": "cpu memory"}


def test_version_2_inside_a_container(machine: Machine) -> None:
    machine.write({**IN_CONTAINER, **v2(cpu="50000 100000", memory=str(160 * MIB))})
    container = machine.container()
    machine.now += 10
    machine.write({"sys/fs/cgroup/cpu.stat": "usage_usec 3500000"})

    assert container.usage() == ContainerUsage(
        cpu_limit_cores=0.5,
        cpu_limit_percent=50.0,  # 2.5 s of the 5 s that half a core has in 10 s
        memory_limit_bytes=160 * MIB,
        memory_limit_percent=50.0,  # 100 MiB, of which 20 could be taken back
    )


def test_each_reading_is_about_the_time_since_the_last_one(machine: Machine) -> None:
    machine.write({**IN_CONTAINER, **v2(cpu="100000 100000")})
    container = machine.container()
    machine.now += 1
    machine.write({"sys/fs/cgroup/cpu.stat": "usage_usec 2000000"})
    assert container.usage().cpu_limit_percent == 100.0
    machine.now += 1

    assert container.usage().cpu_limit_percent == 0.0


def test_without_limits_there_is_no_percentage(machine: Machine) -> None:
    machine.write({**IN_CONTAINER, **v2()})
    container = machine.container()
    machine.now += 1

    assert container.usage() == NONE


def test_a_limit_that_is_changed_while_the_container_runs_counts(machine: Machine) -> None:
    machine.write({**IN_CONTAINER, **v2(memory=str(80 * MIB))})
    container = machine.container()
    machine.now += 1
    assert container.usage().memory_limit_percent == 100.0

    machine.write({"sys/fs/cgroup/memory.max": str(320 * MIB)})

    assert container.usage().memory_limit_percent == 25.0


def test_a_pods_limit_counts_where_the_container_has_none(machine: Machine) -> None:
    pod = "kubepods.slice/pod-1.slice"
    machine.write(
        {
            "proc/self/cgroup": f"0::/{pod}/worker.scope",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            **v2(f"sys/fs/cgroup/{pod}/worker.scope"),
            **v2(f"sys/fs/cgroup/{pod}", cpu="200000 100000", memory=str(800 * MIB)),
        }
    )
    usage = machine.container().usage()

    assert (usage.cpu_limit_cores, usage.memory_limit_bytes) == (2.0, 800 * MIB)
    assert usage.memory_limit_percent == 10.0


@pytest.mark.parametrize("path", ["/docker/0123456789", "/../../kubepods/pod-1"])
def test_a_path_that_only_the_machine_can_see_means_the_own_root(
    machine: Machine, path: str
) -> None:
    machine.write({**IN_CONTAINER, "proc/self/cgroup": f"0::{path}", **v2(memory=str(80 * MIB))})

    assert machine.container().usage().memory_limit_bytes == 80 * MIB


def v1(group: str = "", *, quota: str = "-1", limit: int = 9223372036854771712) -> dict[str, str]:
    return {
        f"sys/fs/cgroup/cpu{group}/cpu.cfs_quota_us": quota,
        f"sys/fs/cgroup/cpu{group}/cpu.cfs_period_us": "100000",
        f"sys/fs/cgroup/cpuacct{group}/cpuacct.usage": "1000000000",
        f"sys/fs/cgroup/memory{group}/memory.limit_in_bytes": str(limit),
        f"sys/fs/cgroup/memory{group}/memory.usage_in_bytes": str(100 * MIB),
        f"sys/fs/cgroup/memory{group}/memory.stat": f"cache 1\ntotal_inactive_file {20 * MIB}",
    }


def test_version_1(machine: Machine) -> None:
    group = "/kubepods/pod-1/worker"
    machine.write(
        {
            "proc/self/cgroup": f"4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/",
            **v1(),
            **v1(group, quota="150000", limit=200 * MIB),
        }
    )
    container = machine.container()
    machine.now += 2
    machine.write({f"sys/fs/cgroup/cpuacct{group}/cpuacct.usage": "2500000000"})

    assert container.usage() == ContainerUsage(
        cpu_limit_cores=1.5,
        cpu_limit_percent=50.0,
        memory_limit_bytes=200 * MIB,
        memory_limit_percent=40.0,
    )


def test_version_1_without_limits(machine: Machine) -> None:
    machine.write({"proc/self/cgroup": "4:memory:/\n2:cpu,cpuacct:/", **v1()})

    assert machine.container().usage() == NONE


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "nonsense"},
        {**IN_CONTAINER},
        {**IN_CONTAINER, "sys/fs/cgroup/cpu.max": "fast", "sys/fs/cgroup/memory.max": "é"},
        {**IN_CONTAINER, **v2(cpu="100000 0", memory="0")},
    ],
    ids=["no Linux", "no groups", "no files", "no numbers", "nothing"],
)
def test_what_cannot_be_read_is_unknown(machine: Machine, files: Mapping[str, str]) -> None:
    machine.write(files)
    container = machine.container()
    machine.now += 1

    assert container.usage() == NONE


def test_this_very_machine_can_be_read() -> None:
    usage = Container().usage()

    assert usage.cpu_limit_cores is None or usage.cpu_limit_cores > 0
    assert usage.memory_limit_percent is None or 0 <= usage.memory_limit_percent <= 100
