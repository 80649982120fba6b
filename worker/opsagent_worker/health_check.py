"""One HTTP health check: does a URL answer, how fast, and how long is its certificate still valid?"""

import ssl
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from opsagent_worker.errors import PermanentError
from opsagent_worker.outbound import describe


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    url: str
    healthy: bool
    """The final answer, redirects followed, was 2xx or 3xx."""
    status: int | None = None
    """HTTP status; None without an answer."""
    latency_ms: float | None = None
    """Until the head of the answer had arrived, redirects included; None without an answer."""
    certificate_days: int | None = None
    """Whole days until the certificate expires; None without TLS or without an answer."""
    error: str | None = None
    """Why it is not healthy."""

    def to_result(self) -> dict[str, Any]:
        return asdict(self)


def check_target(url: str) -> str:
    """`url`, if it is one that may be checked.

    Raises:
        PermanentError: it is not http or https, names no host or carries a password.
    """
    try:
        parts = urlsplit(url)
        host, has_credentials = parts.hostname, parts.username is not None
        _ = parts.port  # looked at here for the error it raises when it is no port
    except ValueError as error:
        raise PermanentError(f"this is no URL to check: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise PermanentError(
            "only http:// and https:// URLs with a host can be checked, such as https://example.com/health"
        )
    if has_credentials:
        raise PermanentError("a URL to check must not contain a user or password")
    return url


async def check_health(client: httpx.AsyncClient, url: str) -> HealthCheck:
    """Checks `url` once. That it does not answer is a result, not an error.

    Raises:
        PermanentError: the URL is not one that can be checked.
    """
    check_target(url)
    started = time.perf_counter()
    try:
        # The body stays unread: it can be endless, and nothing in it is asked for.
        async with client.stream("GET", url, follow_redirects=True) as response:
            latency_ms = round((time.perf_counter() - started) * 1000, 1)
            certificate_days = _certificate_days(response, now=datetime.now(UTC))
    except httpx.InvalidURL as error:
        raise PermanentError(f"this is no URL to check: {error}") from None
    except httpx.RequestError as error:
        return HealthCheck(url=url, healthy=False, error=describe(error))
    healthy = response.status_code < httpx.codes.BAD_REQUEST
    return HealthCheck(
        url=url,
        healthy=healthy,
        status=response.status_code,
        latency_ms=latency_ms,
        certificate_days=certificate_days,
        error=None if healthy else f"answered {response.status_code} {response.reason_phrase}",
    )


def _certificate_days(response: httpx.Response, *, now: datetime) -> int | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate or "notAfter" not in certificate:
        return None
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    return (expires - now).days
