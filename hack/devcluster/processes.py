"""Starts programs that outlive us, and finds and ends exactly those again.

A process is known by its number *and* its start time: a number alone may by now be another's.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.environment import without_proxies


@dataclass(frozen=True)
class Process:
    """A process of this machine; `started` is in clock ticks since boot (proc(5), field 22)."""

    pid: int
    started: int

    @classmethod
    def running(cls, pid: int) -> "Process | None":
        """The process that has this number now, unless it is gone or a zombie."""
        try:
            # The name, in parentheses, may hold spaces and parentheses itself.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else cls(pid=pid, started=int(fields[19]))

    @classmethod
    def this(cls) -> "Process":
        """The process that asks."""
        me = cls.running(os.getpid())
        if me is None:
            raise RuntimeError("/proc does not show this process: is it mounted?")
        return me

    def alive(self) -> bool:
        return Process.running(self.pid) == self


def spawn(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None
) -> Process:
    """Start `command` in a session of its own, its output appended to `log`."""
    argv = [os.fspath(part) for part in command]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawnp(
        argv[0],
        argv,
        {**without_proxies(), **(environment or {})},
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    # A child that ends at once stays a zombie until we wait for it: its number is still its own.
    return Process.running(pid) or Process(pid=pid, started=0)


def end(processes: Iterable[Process], *, grace: float) -> None:
    """Ask each to end, and after `grace` seconds make it; returns when all are gone."""
    watched = [(process, fd) for process in processes if (fd := _open(process)) is not None]
    try:
        for _, fd in watched:
            _signal(fd, signal.SIGTERM if grace else signal.SIGKILL)
        deadline = time.monotonic() + grace
        for _, fd in watched:
            if not _ended(fd, deadline - time.monotonic()):
                _signal(fd, signal.SIGKILL)
        for process, fd in watched:
            _ended(fd, None)
            _reap(process.pid)
    finally:
        for _, fd in watched:
            os.close(fd)


def children(parent: Process) -> list[Process]:
    """The processes that `parent` started and that are its own still."""
    return [
        process
        for pid in _pids()
        if _parent(pid) == parent.pid and (process := Process.running(pid)) is not None
    ]


def of_folder(folder: Path) -> list[Process]:
    """Processes whose command line names something in `folder`, this one and its parents apart.

    The last resort when the files that name our processes are gone.
    """
    mark, ours = f"{folder}/".encode(), _ancestry()
    return [
        process
        for pid in _pids()
        if pid not in ours
        and mark in _command_line(pid)
        and (process := Process.running(pid)) is not None
    ]


def of_network_namespace(inode: int) -> list[Process]:
    """Processes in the network namespace with this inode number."""
    return [
        process
        for pid in _pids()
        if _network_namespace(pid) == inode and (process := Process.running(pid)) is not None
    ]


def _open(process: Process) -> int | None:
    """A descriptor that stays with the process, opened before we look who it is."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if process.alive():
        return fd
    os.close(fd)
    _reap(process.pid)
    return None


def _signal(fd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return


def _ended(fd: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(0, round(seconds * 1000))))


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # another command's child: init takes it


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _network_namespace(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _parent(pid: int) -> int:
    """0 if there is none, or no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _ancestry() -> set[int]:
    found, pid = set[int](), os.getpid()
    while pid > 0:
        found.add(pid)
        pid = _parent(pid)
    return found
