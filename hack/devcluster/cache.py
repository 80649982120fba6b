"""Build once, share always: what takes minutes to make is kept, by version, for every clone.

An entry is complete or absent. It is built beside its place and renamed into it, under a file
lock, so that two clones may ask for it at once and a build that was killed leaves no half of it.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster.progress import say


def cache_root() -> Path:
    """$OPSAGENT_CACHE, or `opsagent` in the user's XDG cache folder."""
    if chosen := os.environ.get("OPSAGENT_CACHE"):
        return Path(chosen).resolve()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "opsagent"


@contextmanager
def locked(lock: Path, *, waiting: str) -> Iterator[None]:
    """Hold `lock` (a file, there only while held); say `waiting` once if another holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(waiting)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file.fileno(), lock):
                continue  # its holder removed it before we had it: what we hold guards nothing
            try:
                yield
            finally:
                lock.unlink()
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def obtain(entry: Path, build: Callable[[Path], None]) -> Path:
    """Return `entry` (a file or a folder), made by `build(path)` if it is missing."""
    if entry.exists():
        return entry
    waiting = f"another process is building {entry.name}; waiting for it"
    with locked(entry.parent / f".{entry.name}.lock", waiting=waiting):
        if not entry.exists():
            draft = entry.parent / f".{entry.name}.draft"
            _remove(draft)  # what a killed build left
            build(draft)
            draft.rename(entry)
    return entry


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
