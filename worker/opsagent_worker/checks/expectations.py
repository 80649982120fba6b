"""What a healthy answer is like."""

from dataclasses import dataclass

from opsagent_worker.checks.result import Check, CheckKind, HealthStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    timeout: float = 10.0
    """Seconds for all of a check."""
    warn_days: int = 14
    """A certificate that expires sooner makes its target degraded."""
    slow_ms: float | None = None
    """A later answer makes its target degraded; None: any latency will do."""
    http_status: int | None = None
    """None: any below 400."""
    body: str | None = None
    """Text that must occur in the first MiB of the answer."""
    follow_redirects: bool = True

    def answered(
        self, kind: CheckKind, detail: str, *, latency_ms: float, http_status: int | None = None
    ) -> Check:
        """A good answer: healthy unless it was slow."""
        status = HealthStatus.HEALTHY
        if self.slow_ms is not None and latency_ms > self.slow_ms:
            status, detail = HealthStatus.DEGRADED, f"{detail} after {latency_ms:g} ms"
        return Check(
            kind=kind, status=status, detail=detail, latency_ms=latency_ms, http_status=http_status
        )

    def unanswered(self, kind: CheckKind) -> Check:
        """No answer in time."""
        return failed(kind, f"no answer within {self.timeout:g} s")


def failed(kind: CheckKind, detail: str) -> Check:
    return Check(kind=kind, status=HealthStatus.UNHEALTHY, detail=detail)
