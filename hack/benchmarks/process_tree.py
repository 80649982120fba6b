"""A worker's processes, as the kernel accounts for them (proc(5))."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 15)
"""Where they stand behind the name in /proc/PID/stat: fields 14 to 17, own time and that of children waited for."""


@dataclass(frozen=True)
class ProcessTree:
    """The process `pid` and its descendants."""

    pid: int

    def cpu_seconds(self) -> float:
        """User and system time so far, that of ended children included."""
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def memory_bytes(self) -> int:
        """Proportional set size: pages that several processes share count once in all."""
        return sum(_memory_bytes(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        found, queue = list[int](), [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(_children(pid))
        return found


def _children(pid: int) -> list[int]:
    # Children belong to the thread that started them.
    text = [_read(task / "children") for task in _tasks(pid)]
    return [int(number) for line in text for number in line.split()]


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_seconds(pid: int) -> float:
    # The name, in parentheses, may hold spaces and parentheses itself.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[_TIMES])) / _TICKS if fields else 0.0


def _memory_bytes(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    """Empty for a process that has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
