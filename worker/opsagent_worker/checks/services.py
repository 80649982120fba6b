"""The services that tasks may name, and how each is checked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from opsagent_worker.checks.checker import HealthChecker
from opsagent_worker.checks.expectations import Expectations
from opsagent_worker.checks.ping import check_redis
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.target import Target, read_target

ORCHESTRATOR: Final = "orchestrator"
QUEUE: Final = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """By name; `redis` is the queue's own, unless another one was given that name."""

    checker: HealthChecker
    targets: Mapping[str, Target]
    ping_queue: Callable[[], Awaitable[object]]
    """Asks the queue's Redis something."""

    @classmethod
    def configured(
        cls,
        checker: HealthChecker,
        *,
        urls: Mapping[str, str],
        orchestrator_url: str | None,
        ping_queue: Callable[[], Awaitable[object]],
    ) -> "Services":
        """From the settings, which have checked the URLs."""
        named = dict(urls)
        if orchestrator_url is not None:
            named.setdefault(ORCHESTRATOR, f"{orchestrator_url}/health")
        return cls(
            checker=checker,
            targets={name: read_target(url, with_credentials=True) for name, url in named.items()},
            ping_queue=ping_queue,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({QUEUE, *self.targets}))

    async def check(self, name: str, wanted: Expectations | None = None) -> HealthReport:
        """Checks a service.

        Raises:
            ValueError: there is none of that name; the message lists those there are.
        """
        target = self.targets.get(name)
        if target is not None:
            return await self.checker.check(target, wanted, orchestrator=name == ORCHESTRATOR)
        if name == QUEUE:
            check = await check_redis(self.ping_queue, wanted or Expectations())
            return HealthReport(target="the queue's Redis", checks=(check,))
        raise ValueError(
            f"service {name!r} is not known (known: {', '.join(self.names)}); send a url, or add the service to "
            "MONITOR_SERVICE_URLS as name=URL (orchestrator: set ORCHESTRATOR_URL)"
        )

    async def check_url(self, url: str, wanted: Expectations | None = None) -> HealthReport:
        """Checks what a task's payload names.

        Raises:
            ValueError: it is not a URL that may be checked.
        """
        return await self.checker.check(read_target(url), wanted)
