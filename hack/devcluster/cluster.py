"""Brings a cluster up and takes it down again, from whatever state it was left in."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from devcluster import light
from devcluster.apiserver import ApiServer
from devcluster.cache import cache_root, locked
from devcluster.failure import ClusterError
from devcluster.instance import Instance
from devcluster.pki import Pki
from devcluster.progress import say
from devcluster.roster import Roster
from devcluster.teardown import tear_down


class Mode(StrEnum):
    """How much of a cluster is wanted."""

    LIGHT = "light"
    NODE = "node"


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a look at a cluster shows.

    `server` is the API server's URL, or None if the cluster never came up completely.
    """

    server: str | None
    processes: Mapping[str, bool]
    """Alive or not, by component."""
    ready: bool
    """Every component is alive, the API answers and a node is ready."""


@dataclass(frozen=True)
class Cluster:
    """The cluster of `instance` on this machine, running or not."""

    instance: Instance
    mode: Mode

    def up(self) -> None:
        """Return with the cluster running: at once if it is, cleaned up and started if not."""
        with self._locked():
            if self.status().ready:
                say(f"{self.instance.name} is up already")
                return
            if tear_down(self.instance):
                say(f"{self.instance.name} was left broken: cleaned up")
            self.instance.state.mkdir(parents=True)
            say(f"starting {self.instance.name}")
            match self.mode:
                case Mode.LIGHT:
                    api = light.start(self.instance)
                case Mode.NODE:
                    raise ClusterError("soon")
                case _:
                    assert_never(self.mode)
            self._record.write_text(json.dumps({"server": api.url}))
            say(f"{self.instance.name} is up: {api.url}")

    def down(self) -> None:
        """Return with nothing of the cluster left on the machine."""
        with self._locked():
            found = tear_down(self.instance)
        say(f"{self.instance.name} is {'gone' if found else 'not there'}")

    def status(self) -> Status:
        """Look at the cluster, without waiting for anything."""
        roster = Roster(state=self.instance.state)
        alive = {name: process.alive() for name, process in roster.processes().items()}
        if not self._record.exists():
            return Status(server=None, processes=alive, ready=False)
        server = str(json.loads(self._record.read_text())["server"])
        api = ApiServer(server, Pki(self.instance.state / "pki"))
        ready = all(alive.values()) and api.ready() and api.ready_nodes() > 0
        return Status(server=server, processes=alive, ready=ready)

    @property
    def _record(self) -> Path:
        """Written when the cluster is up: without it, the start was cut short."""
        return self.instance.state / "cluster.json"

    def _locked(self) -> AbstractContextManager[None]:
        return locked(
            cache_root() / "locks" / self.instance.name,
            waiting=f"another command works on {self.instance.name}; waiting for it",
        )
