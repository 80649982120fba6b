"""What an answer, or none, from another system means for the task."""

from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_worker.errors import PermanentError, RetryableError
from opsagent_worker.outbound import call, new_client, refusal, retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


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
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": header}), now=NOW) == seconds


def test_without_the_header_no_wait_is_asked_for() -> None:
    assert retry_after(httpx.Headers(), now=NOW) is None


@given(st.text())
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


async def test_a_system_that_cannot_be_reached_is_worth_another_try() -> None:
    async with new_client(version="v1") as client:
        with pytest.raises(RetryableError, match=r"the API could not be reached: ."):
            await call(client, "GET", "http://127.0.0.1:9/", what="the API")


async def test_a_url_that_is_none_is_not_worth_another_try() -> None:
    async with new_client(version="v1") as client:
        with pytest.raises(PermanentError, match="the API has an invalid URL"):
            await call(client, "GET", "http://[::1/", what="the API")
