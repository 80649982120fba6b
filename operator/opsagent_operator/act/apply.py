"""Brings children to what their manifests say, with as few writes as possible."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from opsagent_operator.act.drift import differences
from opsagent_operator.kube.client import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    Kube,
    Resource,
)
from opsagent_operator.kube.errors import NotFound
from opsagent_operator.model.plan import Event
from opsagent_operator.observe.cluster import ClusterCache, Key

__all__ = ["RESOURCES", "Applier"]

RESOURCES: Final = {
    resource.kind: resource for resource in (DEPLOYMENTS, CONTROLLER_REVISIONS, DISRUPTION_BUDGETS)
}
"""The kinds of children, by name."""
CORRECTION_INTERVAL: Final = 10.0
"""Seconds between two corrections of the same child: whoever fights us shall not fill etcd."""
SHOWN_PATHS: Final = 3
REPLICAS: Final = "spec.replicas"


@dataclass(frozen=True, slots=True)
class _Applied:
    """What a child was last brought to, or found to be."""

    digest: bytes
    """Of the manifest."""
    refused: frozenset[str] = frozenset()
    """Paths that differed even so: an admission webhook insists on something else there."""
    corrected_at: float = float("-inf")
    behind: bool = False
    """Whether it differs, and a correction has to wait."""
    held_at: int | None = None
    """The version at which it was last found to differ in nothing else."""


class Applier:
    """Server-side apply of whole manifests, left out when they hold already; a patch when only the number differs."""

    def __init__(self, *, kube: Kube, cache: ClusterCache) -> None:
        self._kube = kube
        self._cache = cache
        self._applied: dict[Key, dict[tuple[Resource, Key], _Applied]] = {}

    def forget(self, owner: Key) -> None:
        """The object is gone, and its children with it."""
        self._applied.pop(owner, None)

    def behind(self, owner: Key) -> bool:
        """Whether a correction of one of its children still has to be made."""
        return any(child.behind for child in self._applied.get(owner, {}).values())

    async def apply(self, owner: Key, manifest: Mapping[str, Any]) -> Event | None:
        """Make `manifest` hold; the event tells of a change that somebody else had made to it.

        Raises:
            KubeError: the API server does not answer, or refuses.
        """
        resource = RESOURCES[manifest["kind"]]
        key = Key(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        memory = self._applied.setdefault(owner, {})
        last = memory.get((resource, key))
        digest = _digest(manifest)
        again = last if last is not None and last.digest == digest else None
        version = self._cache.resource_version(resource, key)
        if again is not None and version is not None and version == again.held_at:
            return None
        live = self._cache.get(resource, key)
        drift = [] if live is None else list(differences(live, manifest))
        if again is not None:
            drift = [path for path in drift if path not in again.refused]
        if live is not None and not drift:
            memory[resource, key] = replace(
                again or _Applied(digest), behind=False, held_at=version
            )
            return None

        now = asyncio.get_running_loop().time()
        if again is not None and now < again.corrected_at + CORRECTION_INTERVAL:
            memory[resource, key] = replace(again, behind=True)
            return None  # the next visit is never far
        answer = await self._write(resource, manifest, drift)
        self._cache.record_write(resource, answer)
        refused = frozenset(differences(answer, manifest))
        if again is None:
            memory[resource, key] = _Applied(digest, refused)
            return None
        memory[resource, key] = _Applied(digest, refused, corrected_at=now)
        return _corrected(key.name, drift) if resource is DEPLOYMENTS else None

    async def _write(
        self, resource: Resource, manifest: Mapping[str, Any], drift: Sequence[str]
    ) -> dict[str, Any]:
        # To scale is most of what is ever written, and a patch costs the API server two thirds of an apply.
        if drift == [REPLICAS]:
            patch = {"spec": {"replicas": manifest["spec"]["replicas"]}}
            namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
            with suppress(NotFound):
                return await self._kube.merge(resource, patch, namespace=namespace, name=name)
        return await self._kube.apply(resource, manifest)


def _digest(manifest: Mapping[str, Any]) -> bytes:
    """Of thousands of objects, manifests themselves would take more room than all else together."""
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).digest()


def _corrected(name: str, drift: Sequence[str]) -> Event:
    if drift:
        paths = ", ".join(drift[:SHOWN_PATHS]) + (", …" if len(drift) > SHOWN_PATHS else "")
        what = f"Deployment {name} had been changed by someone else: set {paths} back"
    else:
        what = f"Deployment {name} had been deleted by someone else: made it again"
    return Event(
        type="Warning",
        reason="DriftCorrected",
        message=f"{what}; change the OpsAgentWorker instead",
    )
