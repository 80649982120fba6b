"""What `connect` accepts, what it refuses, and that it never shows a password."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection

from opsagent_queue import ConfigurationError, Keys, TaskQueue, connect, passwords
from opsagent_queue.sentinel import MasterPool
from opsagent_queue.url import RedisUrl

PASSWORD = "s3cr3t-word"


def settings(client: Redis) -> dict[str, Any]:
    return dict(client.connection_pool.connection_kwargs)


def test_a_plain_url_is_understood_in_full() -> None:
    made = settings(connect(f"redis://ops:{PASSWORD}@cache.example:6380/2"))
    assert (made["host"], made["port"], made["db"]) == ("cache.example", 6380, 2)
    assert (made["username"], made["password"]) == ("ops", PASSWORD)


def test_percent_encoding_in_a_password_is_decoded() -> None:
    assert settings(connect("redis://:p%40ss%2Fw%23rd@cache"))["password"] == "p@ss/w#rd"


def test_tls_verifies_certificate_and_host_name_unless_told_otherwise() -> None:
    client = connect("rediss://cache.example")
    made = settings(client)
    assert issubclass(client.connection_pool.connection_class, SSLConnection)
    assert (made["ssl_cert_reqs"], made["ssl_check_hostname"]) == ("required", True)


@pytest.mark.parametrize(
    "option", ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"]
)
def test_a_url_that_weakens_tls_is_refused_until_it_is_allowed(option: str) -> None:
    url = f"rediss://:{PASSWORD}@cache.example?{option}"
    with pytest.raises(ConfigurationError, match="allowInsecureTLS") as caught:
        settings(connect(url))
    assert PASSWORD not in str(caught.value)
    made = settings(connect(url, allow_insecure_tls=True))
    assert made["ssl_check_hostname"] is False or made["ssl_cert_reqs"] != "required"


def test_allowing_insecure_tls_is_enough_to_reach_a_server_with_an_unknown_certificate() -> None:
    made = settings(connect("rediss://cache.example", allow_insecure_tls=True))
    assert (made["ssl_cert_reqs"], made["ssl_check_hostname"]) == ("none", False)


def test_a_url_that_asks_for_verification_keeps_it_even_where_less_is_allowed() -> None:
    made = settings(
        connect("rediss://cache.example?ssl_cert_reqs=required", allow_insecure_tls=True)
    )
    assert (made["ssl_cert_reqs"], made["ssl_check_hostname"]) == ("required", True)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        (f"http://:{PASSWORD}@cache", "must start with redis://"),
        (PASSWORD, "must start with redis://"),
        (f"redis://:{PASSWORD}", "names no host|cannot be read"),
        ("redis:///0", "names no host"),
        (f"redis://:{PASSWORD}@cache:port", "numeric port"),
        (f"redis://:{PASSWORD}@cache:99999", "numeric port"),
        (f"redis://:{PASSWORD}#1@cache", "%23"),
        (f"redis://:{PASSWORD}@cache/main", "database is not a number"),
        (f"redis://:{PASSWORD}@cache?db=x", "database is not a number"),
        (f"redis://:{PASSWORD}@cache?socket_timeout=1", "not supported here: socket_timeout"),
        (f"redis://:{PASSWORD}@cache?ssl_cert_reqs=none", "write rediss://"),
        (f"rediss://:{PASSWORD}@cache?ssl_cert_reqs=maybe", "required, optional or none"),
        (f"rediss://:{PASSWORD}@cache?ssl_check_hostname=maybe", "true or false"),
        ("unix://", "path of a socket"),
        (f"redis://:{PASSWORD}@one:1,two:2/0", "several hosts"),
        (f"redis://:{PASSWORD}@cache?sentinel_password={PASSWORD}", "names none"),
        (f"redis+sentinel://:{PASSWORD}@one:26379", "does not name the service"),
        (f"redis+sentinel://:{PASSWORD}@one:26379/0", "does not name the service"),
        (f"redis+sentinel://:{PASSWORD}@one:26379,/tasks", "no host before a comma"),
        (f"redis+sentinel://:{PASSWORD}@one,two:port/tasks", "numeric port"),
        (f"redis+sentinel://:{PASSWORD}@/tasks/0", "names no host"),
        (f"redis+sentinel://:{PASSWORD}@one/tasks/main", "database is not a number"),
        (f"redis+sentinel://:{PASSWORD}@one/tasks?ssl_cert_reqs=none", "write rediss://"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_advice_and_without_its_password(
    url: str, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=advice) as caught:
        settings(connect(url))
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_sentinel_url_is_understood_in_full() -> None:
    url = RedisUrl.parse(
        f"rediss+sentinel://ops:{PASSWORD}@One:1,[::1],three:3/tasks/2"
        "?sentinel_username=watch&sentinel_password=a%2Bb+c&ssl_check_hostname=false"
    )
    assert url.nodes == (("one", 1), ("::1", 26379), ("three", 3))
    assert (url.service, url.db, url.tls) == ("tasks", 2, True)
    assert (url.username, url.password) == ("ops", PASSWORD)
    assert (url.sentinel_username, url.sentinel_password) == ("watch", "a+b+c")
    assert (url.verify, url.check_hostname) == (None, False)
    assert PASSWORD not in repr(url)
    assert "a+b+c" not in repr(url)


def test_tls_holds_for_sentinels_too_and_credentials_stay_apart(tmp_path: Path) -> None:
    client = connect(f"rediss+sentinel://:{PASSWORD}@one,two/tasks?sentinel_password=other")
    pool = client.connection_pool
    assert isinstance(pool, MasterPool)
    made = settings(client)
    assert (made["password"], made["ssl_check_hostname"], made["db"]) == (PASSWORD, True, 0)
    assert issubclass(pool.connection_class, SSLConnection)
    for sentinel, host in zip(pool.sentinel_manager.sentinels, ("one", "two"), strict=True):
        made = settings(sentinel)
        assert (made["host"], made["port"], made["password"]) == (host, 26379, "other")
        assert (made["ssl_cert_reqs"], made["ssl_check_hostname"]) == ("required", True)
        assert sentinel.connection_pool.connection_class is SSLConnection
    assert PASSWORD not in repr(pool) + repr(pool.sentinel_manager)
    with pytest.raises(ConfigurationError, match="does not exist"):
        settings(connect("rediss+sentinel://one/tasks", ca_file=str(tmp_path / "ca.crt")))


@pytest.mark.parametrize(
    ("url", "spellings"),
    [
        ("redis://cache/0", set()),
        ("redis://:plain@cache", {"plain"}),
        ("redis://ops:p%40ss@cache", {"p%40ss", "p@ss"}),
        (
            "redis+sentinel://:one@a:1,b:2/tasks?db=1&sentinel_password=t%2Fwo",
            {"one", "t%2Fwo", "t/wo"},
        ),
    ],
)
def test_every_spelling_of_a_password_is_known_to_those_who_hide_it(
    url: str, spellings: set[str]
) -> None:
    assert passwords(url) == spellings


def test_a_missing_authority_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        settings(connect("rediss://cache", ca_file=str(tmp_path / "ca.crt")))


def test_an_authority_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"ca\.crt cannot be used"):
        settings(connect("rediss://cache", ca_file=str(tmp_path / "ca.crt")))


def test_an_authority_without_tls_is_a_contradiction(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="write rediss://"):
        settings(connect("redis://cache", ca_file=str(tmp_path / "ca.crt")))


def test_no_repr_shows_the_password() -> None:
    client = connect(f"rediss://ops:{PASSWORD}@cache.example")
    pool = client.connection_pool
    for shown in (client, pool, pool.connection_class(**pool.connection_kwargs)):
        assert PASSWORD not in repr(shown)


@pytest.mark.parametrize("worker", ["", "ops", "a/b/c", "A/b", "a/{b}", "a/"])
def test_a_worker_is_named_by_namespace_and_name(worker: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace/name"):
        Keys(prefix="orchestrator", worker=worker)


@pytest.mark.parametrize("prefix", ["", " orchestrator"])
def test_an_empty_or_blank_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        Keys(prefix=prefix, worker="a/b")


def test_our_keys_share_one_hash_slot() -> None:
    keys = Keys(prefix="orchestrator", worker="prod/ops-agent")
    ours = [key for key in keys.vector if not key.startswith("orchestrator:")]
    assert ours
    assert all(key.startswith("opsagent:{prod/ops-agent}:") for key in ours)


def test_a_client_that_returns_bytes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="use connect"):
        TaskQueue(Redis(), worker="a/b")


@pytest.mark.parametrize("agents", ["ops", ["ops", ""]])
def test_agents_is_a_list_of_names(agents: Any) -> None:
    with pytest.raises(ConfigurationError, match="list of names"):
        TaskQueue(connect("redis://cache"), worker="a/b", agents=agents)
