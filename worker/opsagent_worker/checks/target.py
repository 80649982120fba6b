"""What can be checked: a URL whose scheme says how."""

from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

Scheme = Literal["http", "https", "tcp", "tls", "redis", "rediss"]

_DEFAULT_PORTS: Final[dict[str, int]] = {
    "http": 80,
    "https": 443,
    "tls": 443,
    "redis": 6379,
    "rediss": 6379,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    scheme: Scheme
    host: str
    port: int
    url: str = field(repr=False)
    """As it was given, secrets included."""
    shown: str
    """For people: without user, password, query and fragment, any of which may be secret."""


def read_target(url: str, *, with_credentials: bool = False) -> Target:
    """The target that `url` names; a user and password are accepted only `with_credentials`, and only for Redis.

    Raises:
        ValueError: it is not one that can be checked. The message does not contain the URL.
    """
    try:
        parts = urlsplit(url)
        host, port, credentials = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError as error:
        raise ValueError(f"this is no URL to check: {error}") from None
    scheme = next((known for known in get_args(Scheme) if known == parts.scheme), None)
    if scheme is None or not host:
        raise ValueError(
            "only http, https, tcp, tls, redis and rediss URLs with a host can be checked, such as "
            "https://example.com/health or tcp://db.example.com:5432"
        )
    if credentials and not (with_credentials and scheme in {"redis", "rediss"}):
        raise ValueError(
            "a URL to check must not contain a user or password; for a Redis that needs them, name it in "
            "MONITOR_SERVICE_URLS and send the name as the service"
        )
    port = port if port is not None else _DEFAULT_PORTS.get(scheme)
    if not port:
        raise ValueError("a URL to check needs a port here, such as tcp://db.example.com:5432")
    at = parts.netloc.rpartition("@")[2]
    return Target(
        scheme=scheme, host=host, port=port, url=url, shown=f"{scheme}://{at}{parts.path}"
    )
