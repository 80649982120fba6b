"""A connection to Redis that is safe by default and fails with a sentence that says what to do."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from opsagent_queue.direct import DirectPool, DirectRedis
from opsagent_queue.errors import ConfigurationError, QueueRefusedError, QueueUnavailableError
from opsagent_queue.packing import packing
from opsagent_queue.sentinel import master_pool
from opsagent_queue.url import NOT_TLS, RedisUrl

HEALTH_CHECK_SECONDS: Final = 15
"""A pooled connection that was idle longer is asked for a PONG before it is trusted."""

_RETRIES: Final = 3
_PASSING: Final = frozenset(
    {"READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "UNKILLABLE"}
)
"""Refusals that end by themselves: a failover, a replica that catches up, a script that is long."""

_CLUSTER: Final = (
    "this is a node of a Redis Cluster, which is not supported; use a standalone server or Sentinel"
)
_ADVICE: Final = {
    "OOM": (
        "its maxmemory is reached, so nothing new is begun, and only what runs can be finished; "
        "raise maxmemory or remove what fills it"
    ),
    "MISCONF": "it cannot save to its disk; look at its log and at the space that is left there",
    "NOPERM": "this user may not do that; docs/redis.md lists what has to be granted",
    "WRONGTYPE": "another program uses a key of the queue; choose another prefix or remove the key",
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
}
"""What somebody has to do about a refusal that does not end by itself."""

_SCRIPT_NOT_PERMITTED: Final = ("The user executing the script can't", "ACL failure in script")
"""How Redis 6.2 and 7.0, and 7.2, say in a script what is NOPERM elsewhere."""
_IN_SCRIPT: Final = re.compile(r"(?:^| -|@user_script:\d+: )([A-Z]{3,}) ")


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

    With redis+sentinel:// or rediss+sentinel:// its connections follow the master (docs/redis.md).

    rediss:// verifies the certificate against `ca_file` (PEM), or the system's authorities, and
    the host name. A URL that switches either off is refused unless `allow_insecure_tls`.

    `socket_timeout` (seconds) bounds connecting and each reply. A command whose connection breaks
    is sent again at once if it had been idle (direct.py), and up to 3 times with growing pauses:
    every script of this package tolerates that. At most `max_connections` are open; callers beyond
    that wait for one, up to `socket_timeout`.

    Raises `ConfigurationError`; no message, log line or repr contains the password.
    """
    parsed = RedisUrl.parse(url)
    if ca_file is not None and not parsed.tls:
        raise ConfigurationError(NOT_TLS)
    tls = _tls(parsed, ca_file=ca_file, allow_insecure_tls=allow_insecure_tls) if parsed.tls else {}
    options: dict[str, Any] = {
        "db": parsed.db,
        "username": parsed.username,
        "password": parsed.password,
        "max_connections": max_connections,
        "timeout": socket_timeout,
        # RESP2 on purpose: RESP3 brings one more round trip per connection and nothing we use.
        "protocol": 2,
        "decode_responses": True,
        # Ids and records come from other programs: bytes that are no UTF-8 survive a round trip.
        "encoding_errors": "surrogateescape",
        # Also the limit for blocking commands, which is why this package uses none.
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "client_name": client_name,
        # The name above tells who it is; CLIENT SETINFO would only need one more permission.
        "driver_info": None,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), _RETRIES),
    }
    pool = (
        DirectPool(**_target(parsed), **tls, **options)
        if parsed.service is None
        else master_pool(parsed, tls=tls, **options)
    )
    pool.connection_class = packing(pool.connection_class)
    return DirectRedis.from_pool(pool)


def _target(url: RedisUrl) -> dict[str, Any]:
    """Where `url` points to without Sentinel, as keyword arguments of a connection pool."""
    if url.socket is not None:
        return {"connection_class": UnixDomainSocketConnection, "path": url.socket}
    ((host, port),) = url.nodes
    kind = SSLConnection if url.tls else Connection
    return {"connection_class": kind, "host": host, "port": port}


def _tls(url: RedisUrl, *, ca_file: str | None, allow_insecure_tls: bool) -> dict[str, Any]:
    """TLS settings: certificate and host name are verified unless both sides agreed not to."""
    weakened = url.verify in {"optional", "none"} or url.check_hostname is False
    if weakened and not allow_insecure_tls:
        raise ConfigurationError(
            "the Redis URL switches off TLS verification (ssl_cert_reqs or ssl_check_hostname), "
            "so anyone on the way could read the password: remove the option and give the "
            "server's certificate authority instead (queue.redis.caFrom), or accept the risk "
            "with queue.redis.allowInsecureTLS: true"
        )
    if ca_file is not None:
        _check_authority(ca_file)
    insecure = allow_insecure_tls and url.verify in {None, "none"}
    return {
        "ssl_cert_reqs": "none" if insecure else url.verify or "required",
        "ssl_check_hostname": not insecure and url.check_hostname is not False,
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
        OSError,
    ) as error:
        because = str(error) or "it did not answer in time"
        raise QueueUnavailableError(f"Redis is not available: {because}") from error
    except exceptions.ResponseError as error:
        code = _code(error)
        if code in _PASSING:
            raise QueueUnavailableError(f"Redis cannot serve now: {error}") from error
        advice = _ADVICE.get(code)
        because = f"{advice} ({error})" if advice else str(error)
        raise QueueRefusedError(f"Redis refused: {because}", code=code) from error
    except exceptions.RedisError as error:
        raise QueueRefusedError(f"Redis: {error}") from error


def _code(error: exceptions.ResponseError) -> str:
    """The word by which Redis names what is wrong, such as OOM.

    Redis 6.2 wraps what stopped a script: "Error running script (…): @user_script:12: @user_script: 12: -OOM …", or, if a command
    itself found it, "Error running script (…): @user_script:12: WRONGTYPE …".
    """
    if error.status_code not in {None, "ERR"}:
        return str(error.status_code)
    if any(words in str(error) for words in _SCRIPT_NOT_PERMITTED):
        return "NOPERM"
    found = _IN_SCRIPT.search(str(error))
    return found[1] if found else ""
