"""Is a TLS certificate valid, and for how long?"""

import asyncio
import ssl
from datetime import UTC, datetime

from cryptography import x509

from opsagent_worker.checks.result import Check, HealthStatus


def certificate_days(der: bytes, *, now: datetime) -> int | None:
    """Whole days from `now` until the certificate expires, negative once it has; None if it cannot be read."""
    try:
        expires = x509.load_der_x509_certificate(der).not_valid_after_utc
    except ValueError:
        return None
    return (expires - now).days


def judge_certificate(
    days: int | None, *, refused: str | None, warn_days: int, latency_ms: float | None = None
) -> Check:
    """What `days` left mean. `refused` is why verification failed, if it did."""
    if refused is not None:
        status, detail = HealthStatus.UNHEALTHY, f"the certificate is not valid: {refused}"
        if days is not None:
            detail += f" ({_remaining(days)})"
    elif days is not None and days < warn_days:
        status, detail = HealthStatus.DEGRADED, f"the certificate {_remaining(days)}"
    else:
        status = HealthStatus.HEALTHY
        detail = "valid" if days is None else f"the certificate {_remaining(days)}"
    return Check(
        kind="certificate",
        status=status,
        detail=detail,
        latency_ms=latency_ms,
        certificate_days=days,
    )


def verification_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refused certificate behind `error`, if that is what it comes from."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


async def unverified_days(host: str, port: int, *, patience: float) -> int | None:
    """Days left of whatever certificate the server shows; None if it shows none within `patience` seconds.

    Nothing is sent over this connection. It exists because a certificate that is refused is not handed out.
    """
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(patience):
            der = await handshake(host, port, context=anyone)
    except (OSError, TimeoutError):
        return None
    return certificate_days(der, now=datetime.now(UTC))


async def handshake(host: str, port: int, *, context: ssl.SSLContext) -> bytes:
    """The certificate that the server shows, in DER; the connection is closed again.

    Raises:
        ssl.SSLCertVerificationError: `context` does not accept it.
        OSError: no connection, or no TLS on it.
    """
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        # Not waited for: a server need not answer the goodbye, and we have what we came for.
        writer.transport.abort()
    return certificate


def _remaining(days: int) -> str:
    match days:
        case 0:
            return "expires today"
        case _ if days < 0:
            return f"expired {-days} day{'' if days == -1 else 's'} ago"
        case _:
            return f"expires in {days} day{'' if days == 1 else 's'}"
