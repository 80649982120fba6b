"""The sixty tasks of the demo: what an orchestrator would send on a busy afternoon."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from demo.producer import Order, Priority
from demo.sandbox import FLAKY, PROJECT_THAT_BREAKS

OURS = ("ops", "ops_agent")
"""Two parts of the orchestrator call this agent by two names."""
FOREIGN = 10
"""Tasks of other agents among sixty."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Orders in the order of their arrival."""

    orders: tuple[Order, ...]

    @property
    def ours(self) -> list[str]:
        return [order.task_id for order in self.orders if order.assigned_to in OURS]

    @property
    def foreign(self) -> list[str]:
        return [order.task_id for order in self.orders if order.assigned_to not in OURS]

    @property
    def doomed(self) -> frozenset[str]:
        """Tasks that cannot succeed, on purpose: a broken build, a payload without a target."""
        return frozenset(order.task_id for order in self.orders if order.source == "user")


def workload(sandbox: str) -> Workload:
    """Fifty tasks for this agent, of four types, and ten for others, in between.

    `sandbox` is its URL, as pods reach it.
    """
    chance = random.Random(20251022)  # noqa: S311 - the same show each time
    orders = [*_monitors(sandbox), *_deploys(), *_alerts(), *_investigations(), *_of_others()]
    chance.shuffle(orders)
    return Workload(
        orders=tuple(
            replace(order, assigned_to=OURS[number % 2]) if order.assigned_to == "ops" else order
            for number, order in enumerate(orders)
        )
    )


def _monitors(sandbox: str) -> Iterator[Order]:
    for number in range(20):
        seconds = 1 + number % 3
        yield _order("monitor", {"url": f"{sandbox}/slow?seconds={seconds}"}, _priority(number))
    yield _order("monitor", {"service": "orchestrator"}, "P0")
    for status in (404, 500, 503):
        # What a check finds out is its result: these complete, and announce health.degraded.
        yield _order("monitor", {"url": f"{sandbox}/status/{status}"}, "P1")
    yield replace(_order("monitor", {"note": "no url, no service"}, "P3"), source="user")


def _deploys() -> Iterator[Order]:
    source = {"type": "github", "org": "acme", "repo": "shop", "ref": "main"}
    for number, environment in enumerate(("production", "staging", "preview") * 3):
        payload = {"project": f"shop-{number}", "environment": environment, "gitSource": source}
        yield _order("deploy", payload, "P1")
    broken = {"project": PROJECT_THAT_BREAKS, "gitSource": source}
    yield replace(_order("deploy", broken, "P2"), source="user")


def _alerts() -> Iterator[Order]:
    for number in range(10):
        # Slack refuses a flaky one once: it is tried again and then goes through.
        word = f" ({FLAKY})" if number % 5 == 0 else ""
        message = f"checkout answers slowly, shard {number}{word}"
        payload = {"alert_type": "latency", "severity": "high", "message": message}
        yield _order("alert", payload, "P0")


def _investigations() -> Iterator[Order]:
    for number in range(5):
        yield _order("investigate", {"issue": f"queue grows at night ({number})"}, "P2")


def _of_others() -> Iterator[Order]:
    for number in range(FOREIGN):
        agent, kind = (("faq", "faq"), ("dev", "bugfix"))[number % 2]
        # In front of ours: the most urgent ones of all are not for us to take.
        yield Order(type=kind, payload={"n": number}, priority="P0", assigned_to=agent)


def _order(kind: str, payload: Mapping[str, object], priority: Priority) -> Order:
    return Order(type=kind, payload=payload, priority=priority)


def _priority(number: int) -> Priority:
    priorities: tuple[Priority, ...] = ("P0", "P1", "P2", "P3")
    return priorities[number % 4]
