"""What the probes answer, and when."""

import http.client
from collections.abc import Iterator

import pytest

from opsagent_worker.metrics import Metrics
from opsagent_worker.probes import Health, ProbeServer


class Clock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(claim_limit=30, loop_limit=10, clock=clock)


@pytest.fixture
def probes(health: Health) -> Iterator[ProbeServer]:
    with ProbeServer(port=0, health=health, registry=Metrics().registry) as server:
        yield server


def get(server: ProbeServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_worker_whose_loops_turn_is_alive(health: Health, clock: Clock) -> None:
    clock.now += 9
    health.event_loop_turned()
    clock.now += 9

    assert health.failures() == []


def test_a_blocked_event_loop_is_noticed(health: Health, clock: Clock) -> None:
    clock.now += 11

    assert health.failures() == ["the event loop has been blocked for 11 s"]


def test_a_claim_loop_that_hangs_is_noticed_although_the_event_loop_turns(
    health: Health, clock: Clock
) -> None:
    clock.now += 31
    health.event_loop_turned()

    assert health.failures() == ["the claim loop has not turned for 31 s"]


def test_a_draining_worker_is_alive_although_it_claims_no_more(
    health: Health, clock: Clock
) -> None:
    health.claiming = False
    clock.now += 3600
    health.event_loop_turned()

    assert health.failures() == []


def test_livez_says_what_is_wrong(probes: ProbeServer, clock: Clock) -> None:
    assert get(probes, "/livez") == (200, "ok\n")
    clock.now += 31

    status, text = get(probes, "/livez")

    assert status == 503
    assert "event loop" in text
    assert "claim loop" in text


def test_readyz_waits_for_the_queue_and_then_stays(
    probes: ProbeServer, health: Health, clock: Clock
) -> None:
    assert get(probes, "/readyz") == (503, "the queue has not answered yet\n")
    health.ready = True
    health.claiming = False
    clock.now += 3600

    assert get(probes, "/readyz") == (200, "ok\n")


def test_metrics_are_in_prometheus_format(probes: ProbeServer) -> None:
    status, text = get(probes, "/metrics")

    assert status == 200
    assert "# TYPE opsagent_worker_tasks_claimed_total counter" in text
    assert "opsagent_worker_leases_lost_total 0.0" in text


def test_any_other_path_is_unknown(probes: ProbeServer) -> None:
    status, text = get(probes, "/")

    assert status == 404
    assert "/livez, /readyz and /metrics" in text
