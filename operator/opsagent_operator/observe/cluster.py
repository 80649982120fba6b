"""What the watches and our own writes have told about the cluster: the newest known state of objects.

Every reading is by owner, every write by object. An older state never replaces a newer one, whatever
the order in which watch events and answers to our writes arrive: resource versions of one kind are
integers that grow (part of the API since Kubernetes 1.35, and how etcd-backed servers always worked).

Objects are kept as JSON text and decoded when somebody reads them: as Python's dictionaries they would
take six times the room, and most of them are not looked at for hours.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from opsagent_operator.kube.client import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    WORKERS,
    Resource,
)
from opsagent_operator.manifests.labels import WORKER as OWNER_LABEL

__all__ = ["WATCHED", "ClusterCache", "Key"]

WATCHED: Final = (WORKERS, DEPLOYMENTS, CONTROLLER_REVISIONS, DISRUPTION_BUDGETS, PODS)

Object = Mapping[str, Any]
"""A Kubernetes object as plain JSON, without what nobody here reads (`_slim`)."""

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""Where kubectl keeps a copy of the whole object."""


class Key(NamedTuple):
    """Namespace and name of an object; of an `OpsAgentWorker` where nothing else is said."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(slots=True)
class _Entry:
    text: bytes
    """The object, as JSON."""
    version: int
    owner: Key
    listing: int
    """The number of the last list that mentioned it, or that was the last when it appeared."""

    def body(self) -> Object:
        body: Object = msgspec.json.decode(self.text)
        return body


class _Kind:
    """The objects of one kind."""

    def __init__(self) -> None:
        self.entries: dict[Key, _Entry] = {}
        self.owned: dict[Key, set[Key]] = {}
        self.listing = 0
        self.last_deletion = 0
        """Resource version of the newest deletion seen."""

    def put(self, key: Key, entry: _Entry) -> None:
        self.drop(key)
        self.entries[key] = entry
        self.owned.setdefault(entry.owner, set()).add(key)

    def drop(self, key: Key) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            siblings = self.owned[entry.owner]
            siblings.discard(key)
            if not siblings:
                del self.owned[entry.owner]


class ClusterCache:
    """Objects of the watched kinds, indexed by the `OpsAgentWorker` they belong to."""

    def __init__(self) -> None:
        self._kinds: Final = {resource: _Kind() for resource in WATCHED}
        self._versions: dict[Key, int] = {}
        self._changes = 0

    # Reading.

    def worker(self, key: Key) -> Object | None:
        """The `OpsAgentWorker` itself."""
        return self.get(WORKERS, key)

    def get(self, resource: Resource, key: Key) -> Object | None:
        entry = self._kinds[resource].entries.get(key)
        return entry.body() if entry is not None else None

    def resource_version(self, resource: Resource, key: Key) -> int | None:
        """Which state of an object `get` returns."""
        entry = self._kinds[resource].entries.get(key)
        return entry.version if entry is not None else None

    def owned_by(self, resource: Resource, owner: Key) -> tuple[Object, ...]:
        """The children of one kind, ordered by name."""
        kind = self._kinds[resource]
        return tuple(kind.entries[key].body() for key in sorted(kind.owned.get(owner, ())))

    def version(self, owner: Key) -> int:
        """Tells one state of an object and all its children from every other; 0 if nothing is known."""
        return self._versions.get(owner, 0)

    def count(self, resource: Resource) -> int:
        return len(self._kinds[resource].entries)

    # Writing. Each returns the owners whose objects changed: they have to be looked at.

    def observe(self, resource: Resource, body: Object, *, listed: bool) -> Iterable[Key]:
        """A watch has shown `body`; `listed`: as part of a list, not as a change."""
        kind, key = self._kinds[resource], _key(body)
        known = kind.entries.get(key)
        if known is not None and listed:
            known.listing = kind.listing
        if known is not None and known.version >= _version(body):
            return ()
        return self._put(resource, body, listing=known.listing if known else kind.listing)

    def observe_deletion(self, resource: Resource, body: Object) -> Iterable[Key]:
        """A watch has shown that `body`, its last state, is gone or no longer carries our label."""
        kind, key = self._kinds[resource], _key(body)
        kind.last_deletion = max(kind.last_deletion, _version(body))
        known = kind.entries.get(key)
        if known is None or known.version > _version(body):
            return ()  # another object of the same name has come since
        kind.drop(key)
        self._count_change(known.owner)
        return (known.owner,)

    def record_write(self, resource: Resource, body: Object) -> None:
        """The API server has answered a write of ours with `body`: we read it before any watch tells."""
        kind, key = self._kinds[resource], _key(body)
        known = kind.entries.get(key)
        if known is None and _version(body) < kind.last_deletion:
            return  # perhaps it is what was deleted; if not, the watch will show it in a moment
        if known is None or known.version < _version(body):
            self._put(resource, body, listing=known.listing if known else kind.listing)

    def record_absence(self, resource: Resource, key: Key) -> Iterable[Key]:
        """The API server has said that there is no such object, or that it is deleted now."""
        kind = self._kinds[resource]
        known = kind.entries.get(key)
        if known is None:
            return ()
        kind.drop(key)
        self._count_change(known.owner)
        return (known.owner,)

    # Lists. A watch that starts anew with a list does not tell what was deleted in between.

    def begin_listing(self, resource: Resource) -> int:
        """A new list is about to be shown; returns its number."""
        self._kinds[resource].listing += 1
        return self._kinds[resource].listing

    def unmentioned(
        self, resource: Resource, *, namespace: str | None, listing: int
    ) -> tuple[Key, ...]:
        """Objects (in one namespace, or in all) that the list `listing` has not mentioned."""
        return tuple(
            key
            for key, entry in self._kinds[resource].entries.items()
            if entry.listing < listing and namespace in {None, key.namespace}
        )

    def _put(self, resource: Resource, body: Object, *, listing: int) -> Iterable[Key]:
        kind, key = self._kinds[resource], _key(body)
        owner = _owner(resource, body)
        known = kind.entries.get(key)
        text = msgspec.json.encode(_slim(resource, body))
        kind.put(key, _Entry(text, _version(body), owner, listing))
        owners = {owner, known.owner} if known is not None else {owner}
        for changed in owners:
            self._count_change(changed)
        return owners

    def _count_change(self, owner: Key) -> None:
        self._changes += 1
        if any(owner in kind.owned for kind in self._kinds.values()):
            self._versions[owner] = self._changes
        else:
            self._versions.pop(owner, None)


def _key(body: Object) -> Key:
    # Thousands of objects in few namespaces.
    return Key(sys.intern(body["metadata"]["namespace"]), body["metadata"]["name"])


def _version(body: Object) -> int:
    return int(body["metadata"]["resourceVersion"])


def _owner(resource: Resource, body: Object) -> Key:
    key = _key(body)
    if resource == WORKERS:
        return key
    return Key(key.namespace, (body["metadata"].get("labels") or {}).get(OWNER_LABEL, ""))


def _slim(resource: Resource, body: Object) -> Object:
    """Without what nobody here reads; it is often the greater part of an object."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if _LAST_APPLIED in (annotations := metadata.get("annotations") or {}):
        metadata["annotations"] = {
            key: value for key, value in annotations.items() if key != _LAST_APPLIED
        }
    slim = {**body, "metadata": metadata}
    if resource == PODS:
        slim.pop("spec", None)
    return slim
