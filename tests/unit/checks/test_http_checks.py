"""HTTP checks, against real servers on loopback."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from doubles.loopback import Gate, LoopbackServer, Request, Response
from doubles.tls import certificate, tls_server, trust
from opsagent_worker.checks.checker import HealthChecker
from opsagent_worker.checks.expectations import Expectations
from opsagent_worker.checks.result import HealthReport
from opsagent_worker.checks.target import read_target


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


@pytest.fixture
def server(gate: Gate) -> Iterator[LoopbackServer]:
    def respond(request: Request) -> Response | None:
        match request.path:
            case "/moved":
                return Response(302, headers={"Location": "/ok"})
            case "/elsewhere":
                return Response(302, headers={"Location": "file:///etc/passwd"})
            case "/broken":
                return Response(503, "down for maintenance")
            case "/silent":
                return None
            case "/held":
                gate.pass_through()
                return Response(200, "late")
            case "/in-circles":
                return Response(302, headers={"Location": "/in-circles"})
            case "/says":
                return Response(200, {"status": request.query["word"]})
            case "/long":
                return Response(200, "x" * 2_000_000 + "end")
            case _:
                return Response(200, "ok")

    with LoopbackServer(respond) as server:
        yield server


async def check(
    url: str,
    wanted: Expectations | None = None,
    *,
    orchestrator: bool = False,
    pem: Path | None = None,
) -> HealthReport:
    verify = True if pem is None else trust(pem)
    async with httpx.AsyncClient(verify=verify) as client:
        return await HealthChecker(client).check(
            read_target(url), wanted, orchestrator=orchestrator
        )


async def test_an_answer_is_healthy_and_its_time_is_measured(server: LoopbackServer) -> None:
    report = await check(f"{server.url}/ok")

    (found,) = report.checks
    assert (report.status, found.kind, found.http_status) == ("healthy", "http", 200)
    assert found.latency_ms is not None
    assert found.latency_ms > 0
    assert found.detail == "answered 200 OK"


async def test_redirects_are_followed_and_the_last_answer_counts(server: LoopbackServer) -> None:
    report = await check(f"{server.url}/moved")

    assert report.healthy
    assert [request.path for request in server.requests] == ["/moved", "/ok"]


async def test_redirects_are_left_alone_if_asked_to(server: LoopbackServer) -> None:
    report = await check(f"{server.url}/moved", Expectations(follow_redirects=False))

    assert report.checks[0].http_status == 302
    assert len(server.requests) == 1


@pytest.mark.parametrize("path", ["/silent", "/in-circles", "/elsewhere"])
async def test_no_usable_answer_is_a_result_too(server: LoopbackServer, path: str) -> None:
    report = await check(server.url + path)

    assert not report.healthy
    assert report.detail
    assert report.latency_ms is None


async def test_no_answer_in_time_is_not_healthy(server: LoopbackServer) -> None:
    report = await check(f"{server.url}/held", Expectations(timeout=0.05))

    assert (report.status, report.detail) == ("unhealthy", "no answer within 0.05 s")


@pytest.mark.parametrize(
    ("path", "wanted", "status", "detail"),
    [
        ("/broken", Expectations(), "unhealthy", "answered 503 Service Unavailable"),
        ("/broken", Expectations(http_status=503), "healthy", "answered 503 Service Unavailable"),
        ("/ok", Expectations(http_status=204), "unhealthy", "answered 200 OK instead of 204"),
        ("/ok", Expectations(body="ok"), "healthy", "answered 200 OK"),
        (
            "/ok",
            Expectations(body="fine"),
            "unhealthy",
            "answered 200 OK without the expected text",
        ),
        (
            "/long",
            Expectations(body="end"),
            "unhealthy",
            "answered 200 OK without the expected text",
        ),
    ],
)
async def test_an_answer_must_be_what_is_expected(
    server: LoopbackServer, path: str, wanted: Expectations, status: str, detail: str
) -> None:
    report = await check(server.url + path, wanted)

    assert (report.status, report.detail) == (status, detail)


async def test_a_late_answer_makes_its_target_degraded(server: LoopbackServer) -> None:
    report = await check(f"{server.url}/ok", Expectations(slow_ms=0.001))

    assert report.status == "degraded"
    assert report.healthy
    assert report.detail.startswith("answered 200 OK after ")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("healthy", "healthy"),
        ("UP", "healthy"),
        ("who knows", "healthy"),
        ("degraded", "degraded"),
        ("unhealthy", "unhealthy"),
        ("DOWN", "unhealthy"),
    ],
)
async def test_what_the_orchestrator_says_of_itself_counts(
    server: LoopbackServer, word: str, status: str
) -> None:
    url = f"{server.url}/says?word={word}"

    assert (await check(url, orchestrator=True)).status == status
    assert (await check(url)).status == "healthy"


async def test_the_certificates_remaining_days_are_told(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=40)
    with tls_server(pem) as server:
        report = await check(server.url, pem=pem)

    http, tls = report.checks
    assert (http.status, tls.status, tls.certificate_days) == ("healthy", "healthy", 40)
    assert tls.detail == "the certificate expires in 40 days"


async def test_a_certificate_that_expires_soon_makes_its_target_degraded(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=12)
    with tls_server(pem) as server:
        soon = await check(server.url, pem=pem)
        late_enough = await check(server.url, Expectations(warn_days=12), pem=pem)

    assert (soon.status, soon.detail) == ("degraded", "the certificate expires in 12 days")
    assert late_enough.status == "healthy"


async def test_an_expired_certificate_is_told_with_its_age(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=-3)
    with tls_server(pem) as server:
        report = await check(server.url, pem=pem)

    http, tls = report.checks
    assert (http.status, tls.status, tls.certificate_days) == ("unhealthy", "unhealthy", -3)
    assert tls.detail == (
        "the certificate is not valid: certificate has expired (expired 3 days ago)"
    )


async def test_a_certificate_of_nobodys_is_told_with_the_reason(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=40)
    with tls_server(pem) as server:
        report = await check(server.url)

    assert report.checks[1].detail == (
        "the certificate is not valid: self-signed certificate (expires in 40 days)"
    )


async def test_a_certificate_for_another_host_is_told_with_the_reason(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=40, address="127.0.0.2")
    with tls_server(pem) as server:
        report = await check(server.url, pem=pem)

    assert "not valid for '127.0.0.1'" in report.checks[1].detail
    assert report.checks[1].certificate_days == 40


async def test_a_host_name_that_nobody_can_send_to_is_the_askers_fault() -> None:
    with pytest.raises(ValueError, match="no URL to check"):
        await check("http://xn--zz\x7f/")
