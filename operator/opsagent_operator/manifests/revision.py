"""A revision: its identity, and the ControllerRevision that keeps it.

A revision is named by a hash of what its author wrote (image, version, queue, worker), not of what
the operator rendered from it, so that a new operator with a new rendering starts no rollout. Fields
at their default are left out of the hash: a later release of the CRD may add a field without
renaming every revision in the world.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_operator.manifests.labels import PROMOTED_AT, child_metadata
from opsagent_operator.manifests.pod_template import pod_template
from opsagent_operator.model.observed import Revision, Worker

__all__ = ["controller_revision", "image_reference", "new_revision", "revision_name"]

HASH_LENGTH = 10
"""Hex digits: 40 bits, so that two of a million revisions of one object collide by ~1 in 2."""


def revision_name(name: str, spec: OpsAgentWorkerSpec, *, version: str) -> str:
    """The name of the revision that `spec` describes when it runs `version`."""
    inputs = spec.model_dump_json(
        by_alias=True,
        exclude_defaults=True,
        include={"image": True, "queue": True, "worker": True},
    )
    return f"{name}-{_digest(inputs, version)}"


@lru_cache(maxsize=10_000)
def _digest(inputs: str, version: str) -> str:
    """Kept for the objects that there are, as it is asked for at every visit."""
    fields = {**json.loads(inputs), "version": version}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_LENGTH]


def image_reference(spec: OpsAgentWorkerSpec, *, version: str) -> str:
    """The image of a version: the repository and the tag that follows from the git tag."""
    return f"{spec.image.repository}:{spec.image.tag_template.replace('{version}', version)}"


def new_revision(
    *,
    namespace: str,
    name: str,
    spec: OpsAgentWorkerSpec,
    version: str,
    number: int,
    now: datetime,
) -> Revision:
    """The revision of `version` as `spec` describes it, its pod template rendered."""
    revision = revision_name(name, spec, version=version)
    image = image_reference(spec, version=version)
    return Revision(
        name=revision,
        number=number,
        version=version,
        image=image,
        template=pod_template(
            namespace=namespace,
            name=name,
            revision=revision,
            spec=spec,
            version=version,
            image=image,
        ),
        created_at=now,
    )


def controller_revision(worker: Worker, revision: Revision) -> Mapping[str, Any]:
    """The ControllerRevision that keeps `revision`; its `data` never changes after creation."""
    promoted = revision.promoted_at
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": child_metadata(
            worker,
            name=revision.name,
            # Always present: a manifest that merely left it out would not take it away.
            annotations={PROMOTED_AT: promoted.isoformat() if promoted else ""},
        ),
        "revision": revision.number,
        "data": {
            "version": revision.version,
            "image": revision.image,
            "template": revision.template,
        },
    }
