"""Shows what happens: a picture that moves on a terminal, a line per change anywhere else."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.ledger import Tally
from demo.view import WorkerView


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One moment of the show."""

    worker: WorkerView
    tally: Tally
    foreign: int
    """Tasks of other agents that wait in the same queue."""


class Screen(Protocol):
    def show(self, frame: Frame) -> None: ...


@contextmanager
def screen(console: Console) -> "Iterator[Screen]":
    """The screen that suits the console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Picture(live)


@dataclass
class Lines:
    """A line whenever something is new."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    last: Frame | None = None

    def show(self, frame: Frame) -> None:
        last, self.last = self.last, frame
        if last == frame:
            return
        worker, tally = frame.worker, frame.tally
        self.console.print(
            f"[{time.monotonic() - self.began:6.1f}s] workers {worker.ready}/{worker.desired}"
            f"  waiting {len(tally.waiting):2}  running {len(tally.running):2}"
            f"  done {len(tally.completed):2}  failed {len(tally.failed)}"
            f"  {worker.reason}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if worker.decision and (last is None or last.worker.decision != worker.decision):
            text = f"          {worker.decided}: {worker.decision}"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


@dataclass
class Picture:
    """Numbers that move in place, above the last decisions."""

    live: Live
    began: float = field(default_factory=time.monotonic)
    decisions: deque[str] = field(default_factory=lambda: deque(maxlen=6))
    last_decision: str = ""

    def show(self, frame: Frame) -> None:
        worker = frame.worker
        if worker.decision and worker.decision != self.last_decision:
            self.last_decision = worker.decision
            self.decisions.append(f"{self._elapsed():5.1f}s  {worker.decided}: {worker.decision}")
        self.live.update(self._panel(frame), refresh=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    def _panel(self, frame: Frame) -> Panel:
        worker, tally = frame.worker, frame.tally
        pods = "●" * worker.ready + "○" * max(0, worker.desired - worker.ready)
        total = sum(len(place) for place in (tally.final, tally.waiting, tally.running, tally.lost))
        rows = Table.grid(padding=(0, 2))
        rows.add_row("workers", Text(f"{pods}  {worker.ready} of {worker.desired} ready"))
        rows.add_row("waiting", f"{len(tally.waiting)}")
        rows.add_row("running", f"{len(tally.running)}")
        rows.add_row("done", ProgressBar(total=total, completed=len(tally.final), width=40))
        rows.add_row("", f"{len(tally.completed)} completed, {len(tally.failed)} failed")
        rows.add_row("of other agents", f"{frame.foreign} waiting")
        return Panel(
            Group(rows, Text(), *(Text(line, style="dim") for line in self.decisions)),
            title=f"ops-agent {worker.version}  {worker.reason}",
            subtitle=f"{self._elapsed():.0f} s",
        )
