"""HTTP to other systems: one client, time-outs everywhere, and a clear verdict on each failure."""

import email.utils
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from opsagent_worker.errors import PermanentError, RetryableError, TaskError

# Answers that say "not now" although they are 4xx: request time-out, too early, too many requests.
_RETRYABLE_4XX: Final = frozenset({408, 425, 429})
_LONGEST_DETAIL: Final = 300


def new_client(*, version: str) -> httpx.AsyncClient:
    """A client whose requests take at most 5 s to connect and 15 s between two bytes."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(15.0, connect=5.0),
        headers={"User-Agent": f"opsagent-worker/{version}"},
        follow_redirects=False,
    )


async def call(
    client: httpx.AsyncClient, method: str, url: str, *, what: str, **options: Any
) -> httpx.Response:
    """The successful (2xx) answer to a request; `what` names the other side in messages.

    Raises:
        RetryableError: it could not be reached, was overloaded or broken.
        PermanentError: it understood and refused.
    """
    try:
        response = await client.request(method, url, **options)
    except httpx.InvalidURL as error:
        raise PermanentError(f"{what} has an invalid URL: {error}") from None
    except httpx.TransportError as error:
        raise RetryableError(f"{what} could not be reached: {describe(error)}") from error
    if not response.is_success:
        raise refusal(response, what=what)
    return response


def refusal(response: httpx.Response, *, what: str) -> TaskError:
    """The error that an unsuccessful `response` means."""
    status = response.status_code
    message = f"{what} answered {status} {response.reason_phrase}".rstrip()
    if detail := _detail(response):
        message = f"{message}: {detail}"
    if status in _RETRYABLE_4XX or response.is_server_error:
        return RetryableError(
            message, retry_after=retry_after(response.headers, now=datetime.now(UTC))
        )
    return PermanentError(message)


def retry_after(headers: httpx.Headers, *, now: datetime) -> float | None:
    """Seconds until the moment in Retry-After, which is a number of seconds or an HTTP date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def describe(error: Exception) -> str:
    """The text of `error`, or its name if it has none, as many of httpx's time-outs do."""
    return str(error) or type(error).__name__


def _detail(response: httpx.Response) -> str:
    try:
        match response.json():
            case {"error": {"message": str(message), "code": str(code)}}:
                return f"{message} ({code})"
            case {"error": {"message": str(message)}} | {"message": str(message)}:
                return message
    except ValueError:
        pass
    text = " ".join(response.text.split())
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…"
