"""What checks find."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Literal

CheckKind = Literal["http", "certificate", "orchestrator", "tcp", "redis"]


class HealthStatus(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It serves, and somebody should look all the same."""
    UNHEALTHY = "unhealthy"


_ORDER: Final = tuple(HealthStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question put to a target, and its answer."""

    kind: CheckKind
    status: HealthStatus
    detail: str
    """For people: what was found. Without secrets."""
    latency_ms: float | None = None
    """Until the answer began, redirects included; None without an answer."""
    http_status: int | None = None
    certificate_days: int | None = None
    """Whole days until the certificate expires; negative once it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """All checks of one target; there is at least one."""

    target: str
    checks: tuple[Check, ...]

    @property
    def status(self) -> HealthStatus:
        """The worst of its checks'."""
        return max((check.status for check in self.checks), key=_ORDER.index)

    @property
    def healthy(self) -> bool:
        """It serves: healthy or degraded."""
        return self.status is not HealthStatus.UNHEALTHY

    @property
    def latency_ms(self) -> float | None:
        return self.checks[0].latency_ms

    @property
    def detail(self) -> str:
        """What the worst of the checks found."""
        return next(check.detail for check in self.checks if check.status is self.status)

    def to_result(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "status": self.status.value,
            "healthy": self.healthy,
            "latency_ms": self.latency_ms,
            "detail": self.detail,
            "checks": [
                {name: value for name, value in asdict(check).items() if value is not None}
                for check in self.checks
            ],
        }
