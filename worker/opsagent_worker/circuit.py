"""Circuit breakers, one for each remote host: while a host is down, tasks wait for it instead of failing at it.

The pattern is Michael T. Nygard's ("Release It!", 2007). Written here because no library has what a queue's worker needs:
purgatory, pybreaker, aiobreaker and circuitbreaker let every request through once the waiting time is over instead of one
probe, take a cancelled request for a failed one, and know nothing of Retry-After.

Nothing here awaits or does I/O; `outbound.py` asks before each request and tells how it went.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, assert_never

from opsagent_worker.errors import DeferredError

# More hosts than any worker's settings name. The one that was not asked for longest is forgotten first.
MOST_HOSTS: Final = 64


class CircuitState(Enum):
    CLOSED = auto()
    """Requests pass."""
    OPEN = auto()
    """No request passes until the host has had time to recover."""
    HALF_OPEN = auto()
    """One request, the probe, is on its way to find out."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The host did what it is for, be it that it refused the request."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Not reached, not in time, or 5xx."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The host asked everybody to stay away for `seconds` (429 or 503 with Retry-After)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """Says nothing about the host: the request was cancelled or never left."""


Verdict = Answered | Broken | Busy | Unknown


class CircuitOpenError(DeferredError):
    """The request was not sent: its host is given time to recover, or is being probed."""

    def __init__(self, host: str, *, retry_in: float) -> None:
        super().__init__(
            f"{host} is not asked now: it has failed repeatedly or asked for patience",
            retry_in=retry_in,
        )
        self.host = host


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Durations in seconds."""

    failures: int = 5
    """In a row, after which the circuit opens."""
    first_pause: float = 10.0
    """Doubles each time a probe fails."""
    longest_pause: float = 120.0
    """Also of one the host asked for: a limit on one of its services should not stop the others for an hour."""
    probe_patience: float = 5.0
    """How long others wait while a probe is on its way."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The permission to send one request; its outcome is only listened to while nothing changed meanwhile."""

    era: int


Changed = Callable[[str, CircuitState, float], None]
"""Told of each change: the host, its new state, and for how many seconds it stays open (0 unless it is)."""


def _tell_nobody(*_: object) -> None:
    pass


@dataclass(slots=True)
class Breaker:
    host: str
    policy: BreakerPolicy
    clock: Callable[[], float]
    changed: Changed
    state: CircuitState = CircuitState.CLOSED
    _failures: int = field(default=0, init=False)
    _pauses: int = field(default=0, init=False)
    """In a row, without a successful probe."""
    _open_until: float = field(default=0.0, init=False)
    _era: int = field(default=0, init=False)

    def admit(self) -> Ticket:
        """Permits a request, whose outcome must be recorded whatever becomes of it.

        Raises:
            CircuitOpenError: not now.
        """
        match self.state:
            case CircuitState.CLOSED:
                pass
            case CircuitState.OPEN:
                left = self._open_until - self.clock()
                if left > 0:
                    raise CircuitOpenError(self.host, retry_in=left)
                self._enter(CircuitState.HALF_OPEN)
            case CircuitState.HALF_OPEN:
                raise CircuitOpenError(self.host, retry_in=self.policy.probe_patience)
            case _:
                assert_never(self.state)
        return Ticket(self._era)

    def record(self, ticket: Ticket, verdict: Verdict) -> None:
        """How the request went. An outcome from before the last change of state is old news and ignored."""
        if ticket.era != self._era:
            return
        probing = self.state is CircuitState.HALF_OPEN
        match verdict:
            case Answered():
                self._failures = self._pauses = 0
                if probing:
                    self._enter(CircuitState.CLOSED)
            case Broken():
                self._failures += 1
                if probing or self._failures >= self.policy.failures:
                    self._pause(self.policy.first_pause * 2.0 ** min(self._pauses, 32))
                    self._pauses += 1
            case Busy(seconds) if seconds > 0:
                self._pause(seconds)
            case Busy() | Unknown():
                if probing:
                    self._pause(0.0)  # the next request is the probe
            case _:
                assert_never(verdict)

    def _pause(self, seconds: float) -> None:
        seconds = min(seconds, self.policy.longest_pause)
        self._open_until = self.clock() + seconds
        self._enter(CircuitState.OPEN, seconds)

    def _enter(self, state: CircuitState, seconds: float = 0.0) -> None:
        self.state = state
        self._era += 1
        self.changed(self.host, state, seconds)


@dataclass(slots=True, kw_only=True)
class CircuitBreakers:
    """The breakers of all hosts that were asked for, at most `MOST_HOSTS`."""

    changed: Changed = _tell_nobody
    forgotten: Callable[[str], None] = _tell_nobody
    """Told of each host whose breaker is dropped to make room."""
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    clock: Callable[[], float] = time.monotonic
    _breakers: dict[str, Breaker] = field(default_factory=dict, init=False)

    def of(self, host: str) -> Breaker:
        """The breaker of `host`, which is a name and a port."""
        breaker = self._breakers.pop(host, None)
        if breaker is None:
            breaker = Breaker(host, self.policy, self.clock, self.changed)
            if len(self._breakers) >= MOST_HOSTS:
                oldest = next(iter(self._breakers))
                del self._breakers[oldest]
                self.forgotten(oldest)
        self._breakers[host] = breaker
        return breaker

    def states(self) -> Mapping[str, CircuitState]:
        return {host: breaker.state for host, breaker in self._breakers.items()}
