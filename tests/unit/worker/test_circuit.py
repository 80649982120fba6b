"""When a host is left alone, and how it is found to be back."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from opsagent_worker.circuit import (
    MOST_HOSTS,
    Answered,
    BreakerPolicy,
    Broken,
    Busy,
    CircuitBreakers,
    CircuitOpenError,
    CircuitState,
    Ticket,
    Unknown,
    Verdict,
)

POLICY = BreakerPolicy(failures=3, first_pause=10, longest_pause=60, probe_patience=5)
HOST = "api.example.com:443"


@dataclass
class World:
    """Breakers on a clock that moves only when told, and what they told."""

    now: float = 1000.0
    changes: list[tuple[str, CircuitState, float]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breakers = CircuitBreakers(
            policy=POLICY,
            clock=lambda: self.now,
            changed=lambda *change: self.changes.append(change),
            forgotten=self.forgotten.append,
        )

    def ask(self, verdict: Verdict, host: str = HOST) -> None:
        breaker = self.breakers.of(host)
        breaker.record(breaker.admit(), verdict)

    def refused_for(self, host: str = HOST) -> float:
        with pytest.raises(CircuitOpenError) as refusal:
            self.breakers.of(host).admit()
        return refusal.value.retry_in

    @property
    def state(self) -> CircuitState:
        return self.breakers.of(HOST).state


@pytest.fixture
def world() -> World:
    return World()


def broken(world: World, times: int = POLICY.failures) -> None:
    for _ in range(times):
        world.ask(Broken())


def test_enough_failures_in_a_row_open_it(world: World) -> None:
    broken(world)

    assert world.state is CircuitState.OPEN
    assert world.refused_for() == 10
    assert world.changes == [(HOST, CircuitState.OPEN, 10)]


def test_an_answer_between_failures_starts_the_count_again(world: World) -> None:
    broken(world, POLICY.failures - 1)
    world.ask(Answered())
    broken(world, POLICY.failures - 1)

    assert world.state is CircuitState.CLOSED


def test_one_hosts_failures_are_not_anothers(world: World) -> None:
    broken(world)

    world.ask(Answered(), "other.example.com:443")


def test_after_the_pause_one_request_finds_out_while_the_others_wait(world: World) -> None:
    broken(world)
    world.now += 10
    breaker = world.breakers.of(HOST)
    probe = breaker.admit()

    assert world.refused_for() == POLICY.probe_patience
    breaker.record(probe, Answered())
    assert world.state is CircuitState.CLOSED
    breaker.admit()


def test_each_failed_probe_doubles_the_pause_up_to_a_limit(world: World) -> None:
    broken(world)
    pauses = []
    for _ in range(5):
        world.now += world.refused_for()
        world.ask(Broken())
        pauses.append(world.refused_for())

    assert pauses == [20, 40, 60, 60, 60]


def test_a_successful_probe_makes_the_next_pause_short_again(world: World) -> None:
    broken(world)
    world.now += 10
    world.ask(Broken())
    world.now += 20
    world.ask(Answered())
    broken(world)

    assert world.refused_for() == 10


def test_a_host_that_asks_for_patience_gets_it_at_once(world: World) -> None:
    world.ask(Busy(7))

    assert world.refused_for() == 7


def test_a_host_that_asks_for_an_hour_is_asked_again_earlier(world: World) -> None:
    world.ask(Busy(3600))

    assert world.refused_for() == POLICY.longest_pause


def test_a_probe_that_was_cancelled_leaves_its_place_to_the_next_request(world: World) -> None:
    broken(world)
    world.now += 10
    world.ask(Unknown())

    world.ask(Answered())
    assert world.state is CircuitState.CLOSED


def test_what_was_sent_before_it_opened_neither_closes_nor_prolongs_it(world: World) -> None:
    breaker = world.breakers.of(HOST)
    early = [breaker.admit(), breaker.admit()]
    broken(world)
    breaker.record(early[0], Answered())
    world.now += 1
    breaker.record(early[1], Broken())

    assert world.refused_for() == 9


def test_only_so_many_hosts_are_remembered(world: World) -> None:
    for number in range(MOST_HOSTS):
        world.ask(Answered(), f"host-{number}")
    world.ask(Answered(), "host-0")
    world.ask(Answered(), "one-more")

    assert len(world.breakers.states()) == MOST_HOSTS
    assert world.forgotten == ["host-1"]


def durations(longest: int) -> st.SearchStrategy[float]:
    """Eighths of a second: their sums are exact, and so are the differences."""
    return st.integers(0, 8 * longest).map(lambda eighths: eighths / 8)


verdicts = st.one_of(
    st.just(Answered()),
    st.just(Broken()),
    st.just(Unknown()),
    st.builds(Busy, durations(10_000)),
)


class AnyRequests(RuleBasedStateMachine):
    """Requests that overlap, end in any way and order, at any time."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.flying: list[Ticket] = []
        self.probe: Ticket | None = None

    @rule(seconds=durations(100))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def send(self) -> None:
        breaker = self.world.breakers.of(HOST)
        before = breaker.state
        try:
            ticket = breaker.admit()
        except CircuitOpenError:
            assert before is not CircuitState.CLOSED
            assert 0 < self.world.refused_for() <= POLICY.longest_pause
            return
        if before is CircuitState.OPEN:
            assert self.probe is None
            self.probe = ticket
        self.flying.append(ticket)

    @rule(verdict=verdicts, data=st.data())
    def end(self, verdict: Verdict, data: st.DataObject) -> None:
        if not self.flying:
            return
        ticket = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.world.breakers.of(HOST).record(ticket, verdict)
        if ticket is self.probe:
            self.probe = None
            assert self.world.state is not CircuitState.HALF_OPEN

    @invariant()
    def it_is_half_open_exactly_while_one_probe_flies(self) -> None:
        half_open = self.world.state is CircuitState.HALF_OPEN
        assert half_open == (self.probe is not None)

    def teardown(self) -> None:
        """A host that answers is found to be back, whatever happened before."""
        for ticket in self.flying:
            self.world.breakers.of(HOST).record(ticket, Unknown())
        self.world.now += POLICY.longest_pause
        self.world.ask(Answered())
        assert self.world.state is CircuitState.CLOSED


TestAnyRequests = AnyRequests.TestCase


@given(st.lists(verdicts))
def test_only_the_longest_pause_bounds_how_long_a_host_is_left_alone(
    history: list[Verdict],
) -> None:
    world = World()
    for verdict in history:
        try:
            world.ask(verdict)
        except CircuitOpenError as refusal:
            world.now += refusal.retry_in
            world.ask(verdict)
    world.now += POLICY.longest_pause

    world.breakers.of(HOST).admit()
