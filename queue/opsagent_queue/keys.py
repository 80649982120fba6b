"""Names of every key and channel, the orchestrator's and ours beside them (docs/queue.md)."""

import re
from dataclasses import dataclass

from opsagent_queue.errors import ConfigurationError

_WORKER = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Keys:
    """`prefix` names the orchestrator's keys, `worker` ("namespace/name") ours."""

    prefix: str
    worker: str

    def __post_init__(self) -> None:
        if not self.prefix or self.prefix != self.prefix.strip():
            raise ConfigurationError(
                "the queue prefix is empty or has blanks around it; the orchestrator's default is "
                '"orchestrator"'
            )
        if not _WORKER.fullmatch(self.worker):
            raise ConfigurationError(
                f'the worker is named "namespace/name" after its OpsAgentWorker, not {self.worker!r}'
            )

    # The orchestrator's.

    @property
    def tasks(self) -> str:
        return f"{self.prefix}:tasks"

    @property
    def processing(self) -> str:
        return f"{self.prefix}:tasks:processing"

    def record(self, task_id: str) -> str:
        return f"{self.prefix}:task:{task_id}"

    def channels(self, event_type: str) -> tuple[str, str]:
        """Both channels an event goes to; the second is literally named `*`, it is no pattern."""
        return f"{self.prefix}:events:{event_type}", f"{self.prefix}:events:*"

    # Ours. The braces keep them in one hash slot.

    def own(self, name: str) -> str:
        return f"opsagent:{{{self.worker}}}:{name}"

    @property
    def wake(self) -> str:
        """Channel on which this queue tells that something may be claimable again."""
        return self.own("wake")

    def history(self, task_id: str) -> str:
        return self.own(f"history:{task_id}")

    @property
    def vector(self) -> tuple[str, ...]:
        """KEYS of every script, in the order scripts/lib/keys.lua unpacks them.

        Names of single tasks' records are computed from these inside the scripts: they are known
        only there. Standalone Redis and Sentinel allow that; a cluster would not.
        """
        return (
            self.tasks,
            self.processing,
            self.own("leases"),
            self.own("claims"),
            self.own("fence"),
            self.own("delayed"),
            self.own("dead"),
            self.own("dead:records"),
            self.own("orphaned"),
            self.own("workers"),
            self.own("gate"),
            self.own("counters"),
            self.own("index"),
            self.own("types"),
            self.own("foreign"),
            self.own("held"),
            self.own("recent"),
            self.own("drain"),
        )
