"""Which URLs can be checked, and what is shown of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_worker.checks.target import read_target


@pytest.mark.parametrize(
    ("url", "host", "port", "shown"),
    [
        ("https://example.com/health", "example.com", 443, "https://example.com/health"),
        ("http://example.com", "example.com", 80, "http://example.com"),
        ("http://[::1]:8080/", "::1", 8080, "http://[::1]:8080/"),
        ("tcp://db.example.com:5432", "db.example.com", 5432, "tcp://db.example.com:5432"),
        ("tls://mail.example.com:465", "mail.example.com", 465, "tls://mail.example.com:465"),
        ("rediss://cache.example.com/1", "cache.example.com", 6379, "rediss://cache.example.com/1"),
    ],
)
def test_the_scheme_says_how_and_has_a_usual_port(
    url: str, host: str, port: int, shown: str
) -> None:
    target = read_target(url)

    assert (target.host, target.port, target.shown, target.url) == (host, port, shown, url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "only http, https, tcp"),
        ("file:///etc/passwd", "only http, https, tcp"),
        ("unix:///run/redis.sock", "only http, https, tcp"),
        ("example.com/health", "only http, https, tcp"),
        ("http:///health", "with a host"),
        ("tcp://db.example.com", "needs a port"),
        ("http://example.com:0/", "needs a port"),
        ("http://user:word@example.com/", "must not contain a user or password"),
        ("redis://:word@example.com/", "MONITOR_SERVICE_URLS"),
        ("http://[::1/", "no URL to check"),
        ("http://127.0.0.1:99999/", "no URL to check"),
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read_target(url)

    assert "word@" not in str(caught.value)


def test_a_configured_redis_may_have_a_password_that_is_never_shown() -> None:
    target = read_target("redis://user:pass%40word@cache:6380/2", with_credentials=True)

    assert target.shown == "redis://cache:6380/2"
    assert "word" not in repr(target)


def test_a_configured_web_address_may_not_have_one() -> None:
    with pytest.raises(ValueError, match="must not contain a user or password"):
        read_target("https://user:word@example.com", with_credentials=True)


def test_a_query_is_not_shown_as_it_may_carry_a_token() -> None:
    target = read_target("https://example.com/health?token=secret#fragment")

    assert target.shown == "https://example.com/health"


@given(st.text())
def test_no_text_breaks_the_reading(url: str) -> None:
    try:
        target = read_target(url)
    except ValueError:
        return
    assert target.host
    assert 0 < target.port < 65536
