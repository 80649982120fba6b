"""The processes of one cluster: starts components, remembers who they are, waits for them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.components import Component
from devcluster.failure import ClusterError
from devcluster.processes import Process, spawn

POLL = 0.05
"""Seconds between two looks at a condition that nothing tells us about."""
TAIL = 15
"""Lines of a log that a failure shows."""


@dataclass(frozen=True, kw_only=True)
class Roster:
    """What was started in the state folder `state`: a file with its identity, a log, for each.

    `enter` is a command that the components are started through, to put them into a namespace.
    """

    state: Path
    enter: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, component: Component) -> None:
        self.log(component.name).parent.mkdir(parents=True, exist_ok=True)
        line = [*self.enter, *component.command]
        self.remember(
            component.name,
            spawn(line, log=self.log(component.name), environment=self.environment),
        )

    def remember(self, name: str, process: Process) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{process.pid} {process.started}\n")

    def processes(self) -> Mapping[str, Process]:
        """By name, in the order they were started in, dead or alive."""
        if not self._folder.exists():
            return {}
        found = dict[str, Process]()
        for file in sorted(self._folder.iterdir(), key=lambda file: file.stat().st_mtime_ns):
            numbers = file.read_text().split()
            if len(numbers) == 2:  # noqa: PLR2004 - number and start; less if we were killed writing
                found[file.name] = Process(pid=int(numbers[0]), started=int(numbers[1]))
        return found

    def log(self, name: str) -> Path:
        return self.state / "log" / f"{name}.log"

    def wait(self, name: str, holds: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Return when `holds()`.

        Args:
            name: the component that is to bring it about.
            holds: the condition; cheap, and without side effects.
            what: what is waited for: "the API server to be ready".
            seconds: the deadline.

        Raises ClusterError, with the end of the component's log, when the deadline passes or the
        component ends before.
        """
        process, deadline = self.processes()[name], time.monotonic() + seconds
        while not holds():
            if not process.alive():
                raise ClusterError(f"{name} ended; waited for {what}.\n{self._tail(name)}")
            if time.monotonic() > deadline:
                raise ClusterError(f"Waited {seconds:.0f} s for {what}.\n{self._tail(name)}")
            time.sleep(POLL)

    @property
    def _folder(self) -> Path:
        return self.state / "processes"

    def _tail(self, name: str) -> str:
        log = self.log(name)
        lines = log.read_text(errors="replace").splitlines()[-TAIL:] or ["(nothing)"]
        return "\n".join([f"{log} ends with:", *(f"  {line}" for line in lines)])
