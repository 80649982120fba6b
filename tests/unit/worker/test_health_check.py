"""One HTTP health check, against real servers on loopback."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from doubles.loopback import LoopbackServer, Request, Response
from opsagent_worker.errors import PermanentError
from opsagent_worker.health_check import check_health


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    def respond(request: Request) -> Response | None:
        match request.path:
            case "/moved":
                return Response(302, headers={"Location": "/ok"})
            case "/broken":
                return Response(503, "down for maintenance")
            case "/silent":
                return None
            case "/in-circles":
                return Response(302, headers={"Location": "/in-circles"})
            case _:
                return Response(200, "ok")

    with LoopbackServer(respond) as server:
        yield server


def certificate(folder: Path, *, valid_days: int) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=valid_days, hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def tls_server(pem: Path) -> LoopbackServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return LoopbackServer(lambda _request: Response(200, "ok"), tls=context)


async def test_an_answer_is_healthy_and_its_time_is_measured(server: LoopbackServer) -> None:
    async with httpx.AsyncClient() as client:
        check = await check_health(client, f"{server.url}/ok")

    assert check.healthy
    assert check.status == 200
    assert check.latency_ms is not None
    assert check.latency_ms > 0
    assert check.certificate_days is None
    assert check.error is None


async def test_redirects_are_followed(server: LoopbackServer) -> None:
    async with httpx.AsyncClient() as client:
        check = await check_health(client, f"{server.url}/moved")

    assert (check.healthy, check.status) == (True, 200)
    assert [request.path for request in server.requests] == ["/moved", "/ok"]


async def test_an_error_status_is_not_healthy(server: LoopbackServer) -> None:
    async with httpx.AsyncClient() as client:
        check = await check_health(client, f"{server.url}/broken")

    assert (check.healthy, check.status) == (False, 503)
    assert check.error == "answered 503 Service Unavailable"


@pytest.mark.parametrize("path", ["/silent", "/in-circles"])
async def test_no_usable_answer_is_a_result_too(server: LoopbackServer, path: str) -> None:
    async with httpx.AsyncClient() as client:
        check = await check_health(client, server.url + path)

    assert (check.healthy, check.status) == (False, None)
    assert check.error


async def test_the_certificates_remaining_days_are_told(tmp_path: Path) -> None:
    pem = certificate(tmp_path, valid_days=12)
    trust = ssl.create_default_context(cafile=pem)
    with tls_server(pem) as server:
        async with httpx.AsyncClient(verify=trust) as client:
            check = await check_health(client, server.url)

    assert (check.healthy, check.certificate_days) == (True, 12)


async def test_an_expired_certificate_is_not_healthy_and_named_as_the_cause(
    tmp_path: Path,
) -> None:
    pem = certificate(tmp_path, valid_days=-2)
    trust = ssl.create_default_context(cafile=pem)
    with tls_server(pem) as server:
        async with httpx.AsyncClient(verify=trust) as client:
            check = await check_health(client, server.url)

    assert not check.healthy
    assert "certificate has expired" in str(check.error)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "only http:// and https://"),
        ("file:///etc/passwd", "only http:// and https://"),
        ("example.com/health", "only http:// and https://"),
        ("http:///health", "with a host"),
        ("http://user:word@example.com/", "must not contain a user or password"),
        ("http://[::1/", "no URL to check"),
        ("http://127.0.0.1:99999/", "no URL to check"),
    ],
)
async def test_what_is_no_web_address_is_refused(url: str, reason: str) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(PermanentError, match=reason):
            await check_health(client, url)
