"""How soon an announced task becomes a number of replicas, from zero."""

from typing import Final

import msgspec

from benchmarks.failure import BenchmarkError
from benchmarks.scaling_world import (
    NAMESPACE,
    PATIENCE_SECONDS,
    Operator,
    World,
    manifest,
    world,
)
from benchmarks.tasks import announce, fill, look
from devcluster.progress import say
from opsagent_queue import Keys

NAME: Final = "wake"
MAX_REPLICAS: Final = 100
REPLICAS: Final = (1, 20, 100)
KEYS: Final = Keys(prefix="wake", worker=f"{NAMESPACE}/{NAME}")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One rise from zero to `replicas`. Times from the call that publishes the first `task.created`."""

    replicas: int
    accepted_ms: float
    """Until the API server had answered the write that asks for all of them."""
    writes: int
    """Writes of the operator to the Deployment until all pods were ready: one is enough."""
    ready_ms: float
    """Until all pods were ready; a fake kubelet plays them, so this is the control plane's part."""


def measure(*, rounds: int, replicas: tuple[int, ...] = REPLICAS) -> list[Round]:
    """`rounds` rises to each number."""
    with world() as on:
        on.create([manifest(NAME, max_replicas=MAX_REPLICAS, prefix=KEYS.prefix)])
        with on.operator() as operator:
            operator.program.until(
                operator.ready, seconds=PATIENCE_SECONDS, what="the operator to be ready"
            )
            on.until_at_rest()
            found = list[Round]()
            for count in replicas:
                for number in range(1, rounds + 1):
                    found.append(_rise(on, operator, count))
                    _settle(on)
                    if number % 10 == 0:
                        say(f"0 to {count}: {number} of {rounds}")
            return found


def _rise(on: World, operator: Operator, count: int) -> Round:
    with on.redis.client() as redis:
        ids = fill(redis, count, type_="monitor", keys=KEYS)
        began = announce(redis, ids, keys=KEYS, type_="monitor")
    ready = on.deployments.until(
        lambda sizes: any(size.ready == count for size in sizes.values()),
        what=f"{count} pods to be ready",
        seconds=PATIENCE_SECONDS,
    )
    writes = [write for write in on.audit.read() if write.resource == "deployments"]
    if operator.program.exit_code is not None or not any(write.accepted for write in writes):
        raise BenchmarkError(f"the operator did not scale; {operator.program.last_words}")
    return Round(
        replicas=count,
        # The last one: with several writes the number is reached only then.
        accepted_ms=1000 * (max(write.at for write in writes if write.accepted) - began),
        writes=len(writes),
        ready_ms=1000 * (ready - began),
    )


def _settle(on: World) -> None:
    """Take the tasks away, and wait until no pod is left and nobody writes any more."""
    with on.redis.client() as redis:
        redis.flushdb()
        look(redis, keys=KEYS, assigned_to="ops")
    on.deployments.until(
        lambda sizes: all(size.wanted == size.pods == 0 for size in sizes.values()),
        what="all pods to be gone",
        seconds=PATIENCE_SECONDS,
    )
    on.until_at_rest()
