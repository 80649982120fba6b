"""Checks of what speaks no HTTP."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from doubles.tls import certificate, tls_server, trust
from opsagent_worker.checks.checker import HealthChecker
from opsagent_worker.checks.expectations import Expectations
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.target import read_target


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def check(
    url: str, wanted: Expectations | None = None, pem: Path | None = None
) -> HealthReport:
    async with httpx.AsyncClient() as client:
        checker = HealthChecker(client)
        if pem is not None:
            checker = HealthChecker(client, authorities=lambda: trust(pem))
        return await checker.check(read_target(url, with_credentials=True), wanted)


async def test_a_port_that_takes_connections_is_healthy(listener: int) -> None:
    report = await check(f"tcp://127.0.0.1:{listener}")

    assert (report.status, report.checks[0].kind) == ("healthy", "tcp")
    assert report.latency_ms is not None


async def test_a_closed_port_is_not_healthy_and_says_so(closed_port: int) -> None:
    report = await check(f"tcp://127.0.0.1:{closed_port}")

    assert report.status == "unhealthy"
    assert "Connect call failed" in report.detail


async def test_a_tls_port_is_judged_by_its_certificate(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=5)
    with tls_server(pem) as server:
        url = server.url.replace("https", "tls")
        known, unknown = await check(url, pem=pem), await check(url)

    assert (known.status, known.checks[0].certificate_days) == ("degraded", 5)
    assert (unknown.status, unknown.checks[0].certificate_days) == ("unhealthy", 5)
    assert "self-signed certificate" in unknown.detail


async def test_a_port_that_never_says_a_word_is_no_tls_port(listener: int) -> None:
    report = await check(f"tls://127.0.0.1:{listener}", Expectations(timeout=0.05))

    assert (report.status, report.detail) == ("unhealthy", "no answer within 0.05 s")


async def test_a_closed_port_is_no_tls_port(closed_port: int) -> None:
    report = await check(f"tls://127.0.0.1:{closed_port}")

    assert report.status == "unhealthy"


async def test_a_password_is_in_no_result(closed_port: int) -> None:
    report = await check(f"redis://user:a-secret-word@127.0.0.1:{closed_port}/0")

    assert report.target == f"redis://127.0.0.1:{closed_port}/0"
    assert "a-secret-word" not in str(report.to_result())
