"""The images of the demo: operator, two versions of the worker, Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.images import OPERATOR, WORKER
from devcluster.provider import ClusterProvider

VERSION = "v1.0.0-stable-20251022"
NEXT_VERSION = "v1.1.0-stable-20251101"
"""The same content under another name: what a release changes is not the demo's subject."""

_REDIS = Path(__file__).parent / "Dockerfile.redis"


@dataclass(frozen=True, kw_only=True)
class Images:
    """Where the cluster finds them.

    Every tag holds a digest of what the image was made of, so that changed sources are another
    image on a cluster that knows the earlier one.
    """

    operator: str
    """Reference."""
    worker: str
    """Reference of VERSION."""
    redis: str
    """Reference."""

    @property
    def references(self) -> Mapping[str, str]:
        """By the names that stand in the demo's manifests."""
        return {"opsagent-redis": self.redis, "opsagent-worker": self.worker}

    @property
    def operator_values(self) -> Mapping[str, str]:
        """The chart's `image`."""
        repository, _, tag = self.operator.rpartition(":")
        return {"repository": repository, "tag": tag}

    @property
    def worker_image(self) -> Mapping[str, str]:
        """An OpsAgentWorker's `spec.image`."""
        repository, _, tag = self.worker.rpartition(":")
        return {"repository": repository, "tagTemplate": tag.replace(VERSION, "{version}")}


def publish(provider: ClusterProvider) -> Images:
    """Build what is not built yet, and put it where the cluster pulls from."""
    operator, worker, redis = map(provider.images.build, (OPERATOR, WORKER, _REDIS))
    first, _ = (
        provider.publish(worker, name="opsagent-worker", tag=f"{version}-{_digest(worker)}")
        for version in (VERSION, NEXT_VERSION)
    )
    return Images(
        operator=provider.publish(operator, name="opsagent-operator", tag=_digest(operator)),
        worker=first,
        redis=provider.publish(redis, name="opsagent-redis", tag=_digest(redis)),
    )


def _digest(image: str) -> str:
    """What the builder tells an image's inputs by."""
    return image.rpartition(":")[2]
