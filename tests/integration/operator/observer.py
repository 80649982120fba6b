"""The operator's way to queues, with Secrets and objects that are the test's."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opsagent_operator.kube.errors import NotFound
from opsagent_operator.model.observed import QueueState, Unreachable, Worker
from opsagent_operator.observe import convert
from opsagent_operator.observe.cluster import Key
from opsagent_operator.observe.queue import Queues
from opsagent_operator.observe.redis_pools import RedisPools
from opsagent_operator.observe.secrets import SecretCache

SECRET = "redis"


class Woken(NamedTuple):
    """An object that was to be looked at."""

    name: str
    announced: bool
    """Whether because a task was announced."""


@dataclass
class Observer:
    """Queues whose Secrets are the test's."""

    secrets: dict[str, Mapping[str, str] | Exception] = field(default_factory=dict)
    reads: int = 0
    woken: list[Woken] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self.pools = RedisPools(wake=self._wake)
        self.queues = Queues(pools=self.pools, secrets=SecretCache(self._read))

    async def observe(self, **redis: Any) -> QueueState | Unreachable:
        return await self.queues.observe(worker(**redis))

    async def reason(self, **redis: Any) -> tuple[str, str]:
        found = await self.observe(**redis)
        assert isinstance(found, Unreachable), found
        return found.reason, found.message

    async def visit(self, *workers: Worker) -> list[QueueState | Unreachable]:
        """Look at the queues of all of them at the same moment."""
        return await asyncio.gather(*map(self.queues.observe, workers))

    async def until_woken(self, expected: Callable[[list[Woken]], bool]) -> None:
        """Wait until `expected` is true of all who were woken."""
        async with asyncio.timeout(20):
            while not expected(self.woken):
                self._changed.clear()
                await self._changed.wait()

    async def follow(self, *workers: Worker) -> None:
        """Visit them, and wait until their Redis tells of new tasks; then forget who was woken."""
        await self.visit(*workers)
        names = {worker.name for worker in workers}
        await self.until_woken(lambda woken: names <= {one.name for one in woken})
        self.woken.clear()

    def _wake(self, key: Key, announced_at: float | None) -> None:
        self.woken.append(Woken(key.name, announced_at is not None))
        self._changed.set()

    async def _read(self, key: Key) -> Mapping[str, Any]:
        self.reads += 1
        secret = self.secrets.get(key.name, NotFound(key.name))
        if isinstance(secret, Exception):
            raise secret
        return {
            "data": {
                name: base64.b64encode(value.encode()).decode() for name, value in secret.items()
            }
        }


def worker(
    name: str = "ops-agent",
    *,
    prefix: str = "orchestrator",
    agents: tuple[str, ...] = ("ops", "ops_agent"),
    secret: str = SECRET,
    **redis: Any,
) -> Worker:
    reference = {"secretKeyRef": {"name": secret, "key": "REDIS_URL"}}
    spec = {
        "version": "v1.0.0",
        "image": {"repository": "example.com/worker"},
        "queue": {
            "prefix": prefix,
            "agents": list(agents),
            "redis": {"urlFrom": reference, **redis},
        },
    }
    metadata = {"namespace": "shop", "name": name, "uid": "1", "generation": 1}
    return convert.worker({"metadata": metadata, "spec": spec})
