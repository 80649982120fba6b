"""A connection to Redis that is safe by default and fails with a sentence that says what to do."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from opsagent_queue.errors import ConfigurationError, QueueRefusedError, QueueUnavailableError

HEALTH_CHECK_SECONDS: Final = 15
"""A pooled connection that was idle longer is asked for a PONG before it is trusted."""

_RETRIES: Final = 3
_PASSING: Final = ("READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY ", "UNKILLABLE")
"""Refusals that end by themselves: a failover, a replica that catches up, a script that is long."""
_OPTIONS: Final = frozenset({"db", "ssl_cert_reqs", "ssl_check_hostname"})


def connect(
    url: str,
    *,
    ca_file: str | None = None,
    allow_insecure_tls: bool = False,
    socket_timeout: float = 5.0,
    max_connections: int = 8,
    client_name: str = "opsagent",
) -> Redis:
    """A client for `url`: redis://, rediss:// (TLS) or unix://; connects on first use.

    rediss:// verifies the certificate against `ca_file` (PEM), or the system's authorities, and
    the host name. A URL that switches either off is refused unless `allow_insecure_tls`.

    `socket_timeout` (seconds) bounds connecting and each reply. A command whose connection breaks
    is sent again up to 3 times: every script of this package tolerates that. At most
    `max_connections` are open; callers beyond that wait for one, up to `socket_timeout`.

    Raises `ConfigurationError`; no message, log line or repr contains the password.
    """
    pool = BlockingConnectionPool(
        max_connections=max_connections,
        timeout=socket_timeout,
        **_target(url, ca_file=ca_file, allow_insecure_tls=allow_insecure_tls),
        # RESP2 on purpose: RESP3 brings one more round trip per connection and nothing we use.
        protocol=2,
        decode_responses=True,
        # Ids and records come from other programs: bytes that are no UTF-8 survive a round trip.
        encoding_errors="surrogateescape",
        # Also the limit for blocking commands, which is why this package uses none.
        socket_timeout=socket_timeout,
        socket_connect_timeout=socket_timeout,
        health_check_interval=HEALTH_CHECK_SECONDS,
        client_name=client_name,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), _RETRIES),
    )
    return Redis.from_pool(pool)


def _target(url: str, *, ca_file: str | None, allow_insecure_tls: bool) -> dict[str, Any]:
    """Where `url` points to, as keyword arguments of a connection pool."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        # Python's own message quotes the part it could not read, which may be the password.
        raise ConfigurationError(
            "the Redis URL cannot be read: expected redis://[user]:[password]@host:port/db with a "
            'numeric port; percent-encode special characters of the password ("@" is %40, '
            '"/" is %2F, "#" is %23)'
        ) from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ConfigurationError(
            "the Redis URL must start with redis://, rediss:// (TLS) or unix://"
        )
    if parts.fragment or "#" in url:
        raise ConfigurationError(
            'the Redis URL contains "#", which ends a URL: write it as %23 in the password'
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ConfigurationError(
            f"the Redis URL has options that are not supported here: {', '.join(unknown)}; "
            f"supported are {', '.join(sorted(_OPTIONS))}"
        )
    target: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }
    if parts.scheme == "unix":
        if not parts.path:
            raise ConfigurationError("the Redis URL unix:// needs the path of a socket")
        target |= {
            "connection_class": UnixDomainSocketConnection,
            "path": unquote(parts.path),
            "db": _database(options.get("db", "")),
        }
    else:
        if not parts.hostname:
            raise ConfigurationError("the Redis URL names no host: redis://host:6379/0")
        target |= {
            "connection_class": Connection,
            "host": parts.hostname,
            "port": port or 6379,
            "db": _database(options.get("db") or parts.path.strip("/")),
        }
    if parts.scheme == "rediss":
        target["connection_class"] = SSLConnection
        target |= _tls(options, ca_file=ca_file, allow_insecure_tls=allow_insecure_tls)
    elif ca_file is not None or options.keys() & {"ssl_cert_reqs", "ssl_check_hostname"}:
        raise ConfigurationError(
            "TLS options or a certificate authority are given, but the Redis URL does not use "
            "TLS: write rediss:// instead of redis://, or remove them"
        )
    return target


def _database(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise ConfigurationError(
            "the Redis URL's database is not a number: expected redis://host:port/0"
        )
    return int(text)


def _tls(
    options: dict[str, str], *, ca_file: str | None, allow_insecure_tls: bool
) -> dict[str, Any]:
    """TLS settings: certificate and host name are verified unless both sides agreed not to."""
    verify = options.get("ssl_cert_reqs", "required").lower()
    check_hostname = options.get("ssl_check_hostname", "true").lower()
    if verify not in {"required", "optional", "none"}:
        raise ConfigurationError("ssl_cert_reqs in the Redis URL is required, optional or none")
    if check_hostname not in {"true", "false"}:
        raise ConfigurationError("ssl_check_hostname in the Redis URL is true or false")
    weakened = verify != "required" or check_hostname == "false"
    if weakened and not allow_insecure_tls:
        raise ConfigurationError(
            "the Redis URL switches off TLS verification (ssl_cert_reqs or ssl_check_hostname), "
            "so anyone on the way could read the password: remove the option and give the "
            "server's certificate authority instead (queue.redis.caFrom), or accept the risk "
            "with queue.redis.allowInsecureTLS: true"
        )
    if ca_file is not None:
        _check_authority(ca_file)
    insecure = allow_insecure_tls and (verify == "none" or "ssl_cert_reqs" not in options)
    return {
        "ssl_cert_reqs": "none" if insecure else verify,
        "ssl_check_hostname": not insecure and check_hostname == "true",
        "ssl_ca_certs": ca_file,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }


def _check_authority(ca_file: str) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except FileNotFoundError:
        raise ConfigurationError(
            f"the certificate authority file {ca_file} does not exist: is its Secret mounted?"
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificate authority file {ca_file} cannot be used: "
            f"{error.strerror or 'not a PEM certificate'}"
        ) from None


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn redis-py's exceptions into this package's: who has to act is what matters here."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
        raise QueueRefusedError(f"Redis refused the credentials: {error}") from error
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ReadOnlyError,
        exceptions.TryAgainError,
        OSError,
    ) as error:
        raise QueueUnavailableError(f"Redis is not available: {error}") from error
    except exceptions.ResponseError as error:
        # Redis 6.2 wraps what stopped a script, so the code may stand anywhere in the text.
        if any(code in str(error) for code in _PASSING):
            raise QueueUnavailableError(f"Redis cannot serve now: {error}") from error
        raise QueueRefusedError(f"Redis refused: {error}") from error
    except exceptions.RedisError as error:
        raise QueueRefusedError(f"Redis: {error}") from error
