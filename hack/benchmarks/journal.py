"""What handlers themselves wrote down: the one witness of how often a task was executed.

A file that every worker process appends to, one line per beginning and one per end. A line is there
before the handler goes on, whatever happens to the process afterwards.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGUN, ENDED = "begun", "ended"


class Writer:
    """A handler's side."""

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def begun(self, task_id: str, *, attempt: int, seconds: float) -> None:
        self._write(BEGUN, task_id, attempt, seconds)

    def ended(self, task_id: str, *, attempt: int) -> None:
        self._write(ENDED, task_id, attempt, 0.0)

    def _write(self, what: str, task_id: str, attempt: int, seconds: float) -> None:
        line = f"{what} {task_id} {attempt} {seconds} {os.getpid()} {time.monotonic()}\n"
        os.write(self._fd, line.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line."""

    what: str
    task_id: str
    attempt: int
    seconds: float
    """How long the handler meant to take; of a beginning."""
    pid: int
    at: float
    """Monotonic clock, which processes share."""

    @property
    def begins(self) -> bool:
        return self.what == BEGUN

    @classmethod
    def parse(cls, line: str) -> "Entry":
        what, task_id, attempt, seconds, pid, at = line.split()
        return cls(
            what=what,
            task_id=task_id,
            attempt=int(attempt),
            seconds=float(seconds),
            pid=int(pid),
            at=float(at),
        )


@dataclass
class Journal:
    """The reader's side; `read` takes in what is new."""

    file: Path
    beginnings: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    """By task, in the order of writing."""
    begun_by: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    """By process, in the order of writing."""
    ends: Counter[str] = field(default_factory=Counter)
    """How often each task's handler came to its end."""
    running: dict[int, dict[str, Entry]] = field(default_factory=lambda: defaultdict(dict))
    """What each process, by number, has begun and not ended."""
    _offset: int = 0
    _rest: str = ""

    def read(self) -> Sequence[Entry]:
        """Take in and return the entries since the last call."""
        if not self.file.exists():
            return []
        with self.file.open("rb") as opened:
            opened.seek(self._offset)
            raw = opened.read()
        self._offset += len(raw)
        *lines, self._rest = (self._rest + raw.decode()).split("\n")
        entries = [Entry.parse(line) for line in lines]
        for entry in entries:
            self._take(entry)
        return entries

    def _take(self, entry: Entry) -> None:
        if entry.begins:
            self.begun_by[entry.pid].append(entry)
            self.beginnings[entry.task_id].append(entry)
            self.running[entry.pid][entry.task_id] = entry
        else:
            self.ends[entry.task_id] += 1
            self.running[entry.pid].pop(entry.task_id, None)

    def next_beginning(self, task_id: str, *, after: float) -> Entry | None:
        """The first time the task was begun after that moment."""
        return next((one for one in self.beginnings[task_id] if one.at > after), None)

    @property
    def executions(self) -> Mapping[str, int]:
        return {task_id: len(found) for task_id, found in self.beginnings.items()}
