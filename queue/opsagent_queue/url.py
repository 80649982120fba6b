"""The URL of a Redis: read once, strictly, and refused with a sentence that never quotes it."""

from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from opsagent_queue.errors import ConfigurationError

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_TLS_OPTIONS: Final = frozenset({"ssl_cert_reqs", "ssl_check_hostname"})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})
_OPTIONS: Final = frozenset({"db"}) | _TLS_OPTIONS | _SENTINEL_OPTIONS

NOT_TLS: Final = (
    "TLS options or a certificate authority are given, but the Redis URL does not use TLS: write "
    "rediss:// instead of redis://, or remove them"
)
_EXAMPLE: Final = "redis+sentinel://[user]:[password]@host1:26379,host2:26379/service/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """What a URL says. For a socket `nodes` is empty; with Sentinel they are the Sentinels."""

    tls: bool
    nodes: tuple[tuple[str, int], ...]
    """Host and port of each."""
    service: str | None = None
    """The name under which Sentinels watch the master; None without Sentinel."""
    socket: str | None = None
    """Path of a Unix socket."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    verify: str | None = None
    """What `ssl_cert_reqs` says: required, optional or none; None where the URL does not say."""
    check_hostname: bool | None = None
    """What `ssl_check_hostname` says."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ConfigurationError`; its message contains no part of the URL that may be secret."""
        text = text.strip()
        parts = _split(text)
        if parts.scheme not in _SCHEMES:
            raise ConfigurationError(
                "the Redis URL must start with redis://, rediss:// (TLS), unix://, or with "
                "redis+sentinel:// or rediss+sentinel:// for Sentinel"
            )
        if parts.fragment or "#" in text:
            raise ConfigurationError(
                'the Redis URL contains "#", which ends a URL: write it as %23 in the password'
            )
        options = _options(parts)
        sentinel = parts.scheme.endswith("+sentinel")
        tls = parts.scheme.startswith("rediss")
        _check_fit(options, sentinel=sentinel, tls=tls)
        service, socket, database = _path(parts, sentinel=sentinel)
        return cls(
            tls=tls,
            nodes=() if socket is not None else _nodes(parts, sentinel=sentinel),
            service=service,
            socket=socket,
            db=_database(options.get("db") or database),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            sentinel_username=options.get("sentinel_username") or None,
            sentinel_password=options.get("sentinel_password") or None,
            verify=_verify(options),
            check_hostname=_check_hostname(options),
        )


def passwords(url: str) -> frozenset[str]:
    """Every password in `url`, as it is and as it is written there: what logs must not show."""
    parts = urlsplit(url.strip())
    query = (option.partition("=") for option in parts.query.split("&"))
    written = [parts.password, *(value for name, _, value in query if name == "sentinel_password")]
    return frozenset(spelling for text in written if text for spelling in (text, unquote(text)))


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise _unreadable() from None


def _unreadable() -> ConfigurationError:
    # Python's own message quotes the part it could not read, which may be the password.
    return ConfigurationError(
        "the Redis URL cannot be read: expected redis://[user]:[password]@host:port/db with a "
        'numeric port; percent-encode special characters of the password ("@" is %40, '
        '"/" is %2F, "#" is %23)'
    )


def _options(parts: SplitResult) -> dict[str, str]:
    # A plus sign is one here: this is no web form.
    options = dict(parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ConfigurationError(
            f"the Redis URL has options that are not supported here: {', '.join(unknown)}; "
            f"supported are {', '.join(sorted(_OPTIONS))}"
        )
    return options


def _check_fit(options: dict[str, str], *, sentinel: bool, tls: bool) -> None:
    if not tls and options.keys() & _TLS_OPTIONS:
        raise ConfigurationError(NOT_TLS)
    if not sentinel and options.keys() & _SENTINEL_OPTIONS:
        raise ConfigurationError(
            "the Redis URL has credentials for Sentinel but names none: write "
            f"{_EXAMPLE}, or remove sentinel_username and sentinel_password"
        )


def _path(parts: SplitResult, *, sentinel: bool) -> tuple[str | None, str | None, str]:
    """Service, socket and database, as far as the path tells them."""
    if parts.scheme == "unix":
        if not parts.path:
            raise ConfigurationError("the Redis URL unix:// needs the path of a socket")
        return None, unquote(parts.path), ""
    path = parts.path.strip("/")
    if not sentinel:
        return None, None, path
    service, _, database = path.partition("/")
    if not service or service.isdigit():
        raise ConfigurationError(
            "the Redis URL does not name the service that Sentinel watches (the name after "
            f'"sentinel monitor" in its configuration): expected {_EXAMPLE}'
        )
    return unquote(service), None, database


def _nodes(parts: SplitResult, *, sentinel: bool) -> tuple[tuple[str, int], ...]:
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts:
        example = _EXAMPLE if sentinel else "redis://host:6379/0"
        raise ConfigurationError(f"the Redis URL names no host: {example}")
    if "," in hosts and not sentinel:
        raise ConfigurationError(
            f"the Redis URL names several hosts: with Sentinel write {_EXAMPLE}; clusters are not "
            "supported"
        )
    default = SENTINEL_PORT if sentinel else REDIS_PORT
    return tuple(_node(host, default) for host in hosts.split(","))


def _node(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _unreadable() from None
    if not host:
        raise ConfigurationError("the Redis URL names no host before a comma or a port")
    return host, port or default_port


def _database(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise ConfigurationError(
            "the Redis URL's database is not a number: expected redis://host:port/0"
        )
    return int(text)


def _verify(options: dict[str, str]) -> str | None:
    verify = options.get("ssl_cert_reqs")
    if verify is not None and verify.lower() not in {"required", "optional", "none"}:
        raise ConfigurationError("ssl_cert_reqs in the Redis URL is required, optional or none")
    return None if verify is None else verify.lower()


def _check_hostname(options: dict[str, str]) -> bool | None:
    check = options.get("ssl_check_hostname")
    if check is not None and check.lower() not in {"true", "false"}:
        raise ConfigurationError("ssl_check_hostname in the Redis URL is true or false")
    return None if check is None else check.lower() == "true"
