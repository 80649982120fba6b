"""Brings a cluster up and takes it down again, from whatever state it was left in."""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from devcluster import light, node
from devcluster.apiserver import ApiServer
from devcluster.cache import locked
from devcluster.failure import ClusterError
from devcluster.instance import Instance, state_root
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

    `server` is the API server's URL, `registry` host and port of the image registry of a node;
    None if the cluster has none or never came up completely.
    """

    server: str | None
    registry: str | None
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
        self._expect_permission()
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
                    record = {"server": light.start(self.instance).url}
                case Mode.NODE:
                    started = node.start(self.instance)
                    record = {"server": started.api.url, "registry": started.files.registry}
                case _:
                    assert_never(self.mode)
            draft = self._record.with_suffix(".draft")
            draft.write_text(json.dumps(record))
            draft.rename(self._record)
            say(f"{self.instance.name} is up: {record['server']}")

    def down(self) -> None:
        """Return with nothing of the cluster left on the machine."""
        self._expect_permission()
        with self._locked():
            found = tear_down(self.instance)
        say(f"{self.instance.name} is {'gone' if found else 'not there'}")

    def status(self) -> Status:
        """Look at the cluster, without waiting for anything."""
        roster = Roster(state=self.instance.state)
        alive = {name: process.alive() for name, process in roster.processes().items()}
        if not self._record.exists():
            return Status(server=None, registry=None, processes=alive, ready=False)
        record: dict[str, str] = json.loads(self._record.read_text())
        api = ApiServer(record["server"], Pki(self.instance.state / "pki"))
        return Status(
            server=record["server"],
            registry=record.get("registry"),
            processes=alive,
            ready=all(alive.values()) and api.ready() and api.has_ready_node(),
        )

    def _expect_permission(self) -> None:
        if self.mode is Mode.NODE and os.geteuid() != 0:
            raise ClusterError(
                "A local node needs root (it makes namespaces, mounts and network links): "
                "use `sudo -E`, or start Docker and use PROVIDER=kind."
            )

    @property
    def _record(self) -> Path:
        """Written when the cluster is up: without it, the start was cut short."""
        return self.instance.state / "cluster.json"

    def _locked(self) -> AbstractContextManager[None]:
        return locked(
            state_root() / f".{self.instance.name}.lock",
            waiting=f"another command works on {self.instance.name}; waiting for it",
        )
