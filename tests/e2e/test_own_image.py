"""A user's handler, in an image that is built on ours, as docs/handlers.md says."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import manifests
from demo.images import VERSION
from demo.producer import Order
from devcluster.images import WORKER
from e2e.arena import NAME, Arena

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-handler"


def image_of_the_example(arena: Arena) -> dict[str, str]:
    """The `spec.image` of what the example's Dockerfile makes."""
    provider = arena.stage.provider
    image = provider.images.build(EXAMPLE / "Dockerfile", base=provider.images.build(WORKER))
    digest = image.rpartition(":")[2]
    published = provider.publish(image, name="checksum-worker", tag=f"{VERSION}-{digest}")
    return {
        "repository": published.rpartition(":")[0],
        "tagTemplate": f"{{version}}-{digest}",
    }


def test_a_task_of_a_type_of_ones_own_is_run_by_an_image_of_ones_own(arena: Arena) -> None:
    spec: dict[str, Any] = yaml.safe_load((EXAMPLE / "worker.yaml").read_text())["spec"]
    redis_url = arena.backing.credentials()["REDIS_URL"]
    arena.kubectl.apply(
        manifests.secret(NAME, namespace=arena.namespace, values={"REDIS_URL": redis_url})
    )
    arena.create_worker(image=image_of_the_example(arena), worker=spec["worker"])
    arena.until_at_rest()

    (task_id,) = arena.enqueue(
        Order(type="checksum", payload={"url": f"{arena.backing.sandbox_url}/health"})
    )
    (refused,) = arena.enqueue(Order(type="deploy", payload={"project": "web"}))
    tally = arena.until_done()

    assert tally.completed == {task_id}
    assert tally.failed == {
        refused: "no handler for tasks of type 'deploy'; this worker runs checksum"
    }
    record = json.loads(str(arena.redis.hget(arena.keys.record(task_id), "data")))
    result = record["metadata"]["result"]
    assert result["bytes"] > 0
    assert len(bytes.fromhex(result["sha256"])) == hashlib.sha256().digest_size
