"""What the container that this process runs in may use, and what it uses: Linux control groups, version 2 and 1.

Read from the files that the kernel documents in "Control Group v2" and "Memory Resource Controller" (cgroup-v1). psutil
knows the machine only, in which a container's limit does not show.

A limit may stand at any level above the process; usage is read where the limit is, because all in that group share it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_MOUNT: Final = "sys/fs/cgroup"

# Version 1 has no word for "no limit": it gives the largest multiple of the page size, near 2**63.
_NO_LIMIT_V1: Final = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUsage:
    """None: there is no such limit, or it cannot be seen."""

    cpu_limit_cores: float | None = None
    cpu_limit_percent: float | None = None
    """CPU time since the last reading, as percent of the limit."""
    memory_limit_bytes: int | None = None
    memory_limit_percent: float | None = None
    """Memory that cannot be taken back without harm (the working set, as Kubernetes counts it), as percent of the limit."""


@dataclass(frozen=True, slots=True)
class _Cpu:
    cores: float
    used: float
    """Seconds of CPU time, ever."""


@dataclass(frozen=True, slots=True)
class _Memory:
    limit: int
    used: int


class _Groups(Protocol):
    def cpu(self) -> _Cpu | None: ...

    def memory(self) -> _Memory | None: ...


class Container:
    """Reads anew each time: a limit can be changed while the container runs."""

    def __init__(
        self, root: Path = Path("/"), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`root` is where the machine's /proc and /sys are."""
        self._groups = _groups(root)
        self._clock = clock
        self._since = clock()
        self._cpu_before = self._groups.cpu()

    def usage(self) -> ContainerUsage:
        now, cpu, before = self._clock(), self._groups.cpu(), self._cpu_before
        elapsed, self._since, self._cpu_before = now - self._since, now, cpu
        cpu_percent = memory_percent = None
        if cpu is not None and before is not None and elapsed > 0:
            cpu_percent = _percent(max(0.0, cpu.used - before.used), cpu.cores * elapsed)
        memory = self._groups.memory()
        if memory is not None:
            memory_percent = _percent(memory.used, memory.limit)
        return ContainerUsage(
            cpu_limit_cores=None if cpu is None else cpu.cores,
            cpu_limit_percent=cpu_percent,
            memory_limit_bytes=None if memory is None else memory.limit,
            memory_limit_percent=memory_percent,
        )


@dataclass(frozen=True, slots=True)
class _V2:
    folder: Path
    mount: Path

    def cpu(self) -> _Cpu | None:
        for level in _levels(self.folder, self.mount):
            quota, _, period = _text(level / "cpu.max").partition(" ")
            used = _field(level / "cpu.stat", "usage_usec")
            if quota.isdigit() and period.isdigit() and int(period) and used is not None:
                return _Cpu(int(quota) / int(period), used / 1e6)
        return None

    def memory(self) -> _Memory | None:
        for level in _levels(self.folder, self.mount):
            limit, used = _number(level / "memory.max"), _number(level / "memory.current")
            if limit and used is not None:
                return _Memory(limit, used - (_field(level / "memory.stat", "inactive_file") or 0))
        return None


@dataclass(frozen=True, slots=True)
class _V1:
    mount: Path
    paths: dict[str, str]
    """The group's path by controller: each has a tree of its own."""

    def cpu(self) -> _Cpu | None:
        accounts = self.mount / "cpuacct"
        for level in self._levels("cpu"):
            quota, period = (
                _number(level / "cpu.cfs_quota_us"),
                _number(level / "cpu.cfs_period_us"),
            )
            used = _number(accounts / level.relative_to(self.mount / "cpu") / "cpuacct.usage")
            if quota and period and used is not None:
                return _Cpu(quota / period, used / 1e9)
        return None

    def memory(self) -> _Memory | None:
        for level in self._levels("memory"):
            limit = _number(level / "memory.limit_in_bytes")
            used = _number(level / "memory.usage_in_bytes")
            if limit and limit < _NO_LIMIT_V1 and used is not None:
                cache = _field(level / "memory.stat", "total_inactive_file") or 0
                return _Memory(limit, used - cache)
        return None

    def _levels(self, controller: str) -> Iterator[Path]:
        tree = self.mount / controller
        return _levels(_group(tree, self.paths.get(controller, "/")), tree)


def _groups(root: Path) -> _Groups:
    mount, paths = root / _MOUNT, _paths(root)
    if (mount / "cgroup.controllers").exists():
        return _V2(_group(mount, paths.get("", "/")), mount)
    return _V1(mount, paths)


def _paths(root: Path) -> dict[str, str]:
    """Where this process is, by controller; that of version 2 has no name."""
    paths: dict[str, str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def _group(tree: Path, path: str) -> Path:
    """The folder of a group. A container may see its own group as the tree's root while it is told the machine's path."""
    folder = tree / path.lstrip("/")
    return folder if folder.is_dir() and ".." not in folder.parts else tree


def _levels(folder: Path, mount: Path) -> Iterator[Path]:
    """From the group itself up to the root of its tree."""
    yield folder
    while folder != mount:
        folder = folder.parent
        yield folder


def _text(file: Path) -> str:
    """'' for what cannot be read, as elsewhere than on Linux."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _number(file: Path) -> int | None:
    """None also for `max` and for -1, which mean that there is no limit."""
    text = _text(file)
    return int(text) if text.isdigit() else None


def _field(file: Path, name: str) -> int | None:
    for line in _text(file).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return None


def _percent(part: float, whole: float) -> float | None:
    return round(100 * max(0.0, part) / whole, 1) if whole > 0 else None
