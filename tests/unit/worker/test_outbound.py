"""What an answer, or none, from another system means for the task."""

import asyncio
import contextlib
import email.utils
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_worker.circuit import BreakerPolicy, CircuitBreakers, CircuitOpenError, CircuitState
from opsagent_worker.errors import PermanentError, RetryableError
from opsagent_worker.outbound import (
    UNGUARDED,
    GuardedClient,
    call,
    new_client,
    refusal,
    retry_after,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
URL = "https://api.example.com/x"


def answer(status: int, **options: object) -> httpx.Response:
    return httpx.Response(status, **options)  # type: ignore[arg-type] # keyword arguments as they are


@given(st.integers(min_value=400, max_value=599))
def test_4xx_is_permanent_except_where_it_says_not_now_and_5xx_is_not(status: int) -> None:
    error = refusal(answer(status), what="it")

    assert isinstance(error, RetryableError) == (status >= 500 or status in {408, 425, 429})
    assert isinstance(error, PermanentError) != isinstance(error, RetryableError)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 12:00:10 -0000", 10),
        ("Thu, 01 Jan 2026 12:00:10 +99999999999999999", None),
        ("Thu, 01 Jan 99999 12:00:10 GMT", None),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": header}), now=NOW) == seconds


def test_without_the_header_no_wait_is_asked_for() -> None:
    assert retry_after(httpx.Headers(), now=NOW) is None


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - hypothesis adds the time zone
    st.integers(min_value=-23, max_value=23),
)
def test_a_date_means_the_same_moment_in_any_time_zone(moment: datetime, hours: int) -> None:
    aware = moment.replace(microsecond=0, tzinfo=UTC)
    header = email.utils.format_datetime(aware.astimezone(timezone(timedelta(hours=hours))))

    seconds = retry_after(httpx.Headers({"Retry-After": header}), now=NOW)

    assert seconds == max(0.0, (aware - NOW).total_seconds())


@given(st.text() | st.from_regex(r"Thu, [0-9]{1,4} Jan [0-9]+ 1[0-9]:00:[0-9]{2} [+-][0-9]+"))
def test_no_header_value_breaks_the_reading(header: str) -> None:
    encoded = header.encode("utf-8", errors="ignore")
    seconds = retry_after(httpx.Headers([(b"retry-after", encoded)]), now=NOW)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (
            answer(403, json={"error": {"code": "forbidden", "message": "Not authorized"}}),
            "the API answered 403 Forbidden: Not authorized (forbidden)",
        ),
        (answer(400, json={"message": "bad"}), "the API answered 400 Bad Request: bad"),
        (answer(404, text="no_service"), "the API answered 404 Not Found: no_service"),
        (answer(500), "the API answered 500 Internal Server Error"),
        (answer(302), "the API answered 302 Found"),
    ],
)
def test_the_message_carries_the_other_sides_own_words(
    response: httpx.Response, message: str
) -> None:
    assert str(refusal(response, what="the API")) == message


def test_a_long_page_of_an_error_is_cut() -> None:
    assert len(str(refusal(answer(500, text="x" * 100_000), what="it"))) < 400


@given(st.integers(min_value=0, max_value=400))
def test_no_half_of_a_token_remains_of_a_text_that_is_cut(position: int) -> None:
    token = "t0k3n" * 8
    text = ("word " * 100)[:position].rstrip() + f" {token} " + "more " * 100

    told = str(refusal(answer(500, text=text), what="it"))

    assert "t0k" not in told.replace(token, "")


def breakers() -> CircuitBreakers:
    return CircuitBreakers(
        policy=BreakerPolicy(failures=2),
    )


async def test_a_system_that_cannot_be_reached_is_worth_another_try() -> None:
    async with new_client(version="v1", breakers=breakers()) as client:
        with pytest.raises(RetryableError, match=r"the API could not be reached: ."):
            await call(client, "GET", "http://127.0.0.1:9/", what="the API")


async def test_a_url_that_is_none_is_not_worth_another_try() -> None:
    async with new_client(version="v1", breakers=breakers()) as client:
        with pytest.raises(PermanentError, match="the API has an invalid URL"):
            await call(client, "GET", "http://[::1/", what="the API")


class Host:
    """A remote host and a client of it: answers as told, and counts what reaches it."""

    def __init__(self) -> None:
        self.breakers = breakers()
        self.requests = 0
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200)
        self.client = GuardedClient(
            self.breakers, transport=httpx.MockTransport(self._respond), follow_redirects=False
        )

    def _respond(self, _request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return self.answer()

    def fails_with(self, error: Exception) -> None:
        def fail() -> httpx.Response:
            raise error

        self.answer = fail

    def answers(self, status: int, **headers: str) -> None:
        self.answer = lambda: httpx.Response(status, headers=headers)

    async def ask(self, *, times: int = 1, url: str = URL) -> None:
        for _ in range(times):
            with contextlib.suppress(RetryableError, PermanentError):
                await call(self.client, "GET", url, what="the API")

    @property
    def state(self) -> CircuitState:
        return self.breakers.of("api.example.com:443").state


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    async with host.client:
        yield host


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("no answer"),
    ],
)
async def test_a_host_that_cannot_be_reached_is_left_alone(host: Host, error: Exception) -> None:
    host.fails_with(error)
    await host.ask(times=2)

    with pytest.raises(
        CircuitOpenError, match=r"api\.example\.com:443 is not asked now"
    ) as refused:
        await call(host.client, "GET", URL, what="the API")

    assert host.requests == 2
    assert 0 < refused.value.retry_in <= 10


async def test_a_host_that_breaks_is_left_alone(host: Host) -> None:
    host.answers(502)
    await host.ask(times=2)

    assert host.state is CircuitState.OPEN


@pytest.mark.parametrize("status", [400, 401, 404, 408, 422, 429])
async def test_a_host_that_refuses_is_asked_again(host: Host, status: int) -> None:
    host.answers(status)
    await host.ask(times=20)

    assert (host.requests, host.state) == (20, CircuitState.CLOSED)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_host_that_says_when_to_come_back_is_left_alone_until_then(
    host: Host, status: int
) -> None:
    host.answers(status, **{"Retry-After": "30"})
    await host.ask()

    with pytest.raises(CircuitOpenError) as refused:
        await call(host.client, "GET", URL, what="the API")

    assert 29 < refused.value.retry_in <= 30


async def test_another_port_of_the_same_host_is_another_host(host: Host) -> None:
    host.answers(500)
    await host.ask(times=2)
    await host.ask(url="https://api.example.com:8443/")

    assert host.requests == 3


@pytest.mark.parametrize("error", [httpx.PoolTimeout(""), httpx.UnsupportedProtocol("")])
async def test_our_own_trouble_is_not_held_against_the_host(host: Host, error: Exception) -> None:
    host.fails_with(error)
    await host.ask(times=5)

    assert host.state is CircuitState.CLOSED


async def test_a_cancelled_request_is_not_held_against_the_host(host: Host) -> None:
    host.fails_with(asyncio.CancelledError())  # type: ignore[arg-type] # an exception for all but its base
    for _ in range(5):
        with pytest.raises(asyncio.CancelledError):
            await call(host.client, "GET", URL, what="the API")

    assert host.state is CircuitState.CLOSED


async def test_a_health_check_goes_through_and_changes_nothing(host: Host) -> None:
    host.answers(500)
    await host.ask(times=2)
    host.answers(200)

    response = await host.client.get(URL, extensions=UNGUARDED)

    assert response.status_code == 200
    assert host.state is CircuitState.OPEN
