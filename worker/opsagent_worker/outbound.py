"""HTTP to other systems: one client, time-outs, a clear verdict on each failure, no request to a host that is down."""

import asyncio
import email.utils
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, assert_never

import httpx
import structlog

from opsagent_worker.circuit import (
    Answered,
    Broken,
    Busy,
    CircuitBreakers,
    CircuitState,
    Unknown,
    Verdict,
)
from opsagent_worker.errors import PermanentError, RetryableError, TaskError
from opsagent_worker.metrics import Metrics

log = structlog.get_logger()

# Answers that say "not now" although they are 4xx: request time-out, too early, too many requests.
_RETRYABLE_4XX: Final = frozenset({408, 425, 429})

# Answers whose Retry-After is meant for everybody, not for one request (RFC 9110, 10.2.3 and RFC 6585, 4).
_BUSY: Final = frozenset({429, 503})

# What tells that a host is down; the other transport errors are our own doing (no free connection, a bad request).
_HOST_DOWN: Final = (
    httpx.NetworkError,
    httpx.ConnectTimeout,
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)

_LONGEST_DETAIL: Final = 300

# httpx limits the time between two bytes only: a host that sends one every 14 s would hold a task until its own time-out.
_LONGEST_CALL: Final = 60.0

_UNGUARDED: Final = "opsagent_unguarded"

UNGUARDED: Final = {_UNGUARDED: True}
"""As `extensions` of a request: send it whatever its host's circuit breaker says, and don't tell it. For health checks,
whose purpose is to look."""


class GuardedClient(httpx.AsyncClient):
    """A client that asks a circuit breaker before each request.

    `send`, not a transport of our own: given one, httpx no longer reads the environment's proxies.
    """

    def __init__(self, breakers: CircuitBreakers, **options: Any) -> None:
        super().__init__(**options)
        self._breakers = breakers

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """The answer to `request`.

        Raises:
            CircuitOpenError: the request was not sent.
            httpx.RequestError: it was not answered.
        """
        if _UNGUARDED in request.extensions:
            return await super().send(request, **options)
        breaker = self._breakers.of(_host(request.url))
        ticket = breaker.admit()
        verdict: Verdict = Unknown()
        try:
            response = await super().send(request, **options)
            verdict = _verdict(response)
        except _HOST_DOWN:
            verdict = Broken()
            raise
        finally:
            breaker.record(ticket, verdict)
        return response


def circuit_breakers(metrics: Metrics) -> CircuitBreakers:
    """Breakers that log each change and show in the metrics which circuits are open."""

    def changed(host: str, state: CircuitState, seconds: float) -> None:
        metrics.circuit_open.labels(host).set(state is not CircuitState.CLOSED)
        match state:
            case CircuitState.OPEN:
                log.warning("host is left alone", host=host, seconds=round(seconds, 1))
            case CircuitState.HALF_OPEN:
                log.info("host is asked whether it is back", host=host)
            case CircuitState.CLOSED:
                log.info("host is back", host=host)
            case _:
                assert_never(state)

    return CircuitBreakers(changed=changed, forgotten=metrics.circuit_open.remove)


def new_client(*, version: str, breakers: CircuitBreakers | None = None) -> httpx.AsyncClient:
    """A client whose requests take at most 5 s to connect and 15 s between two bytes."""
    return GuardedClient(
        breakers or CircuitBreakers(),
        timeout=httpx.Timeout(15.0, connect=5.0),
        headers={"User-Agent": f"opsagent-worker/{version}"},
        follow_redirects=False,
    )


async def call(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    what: str,
    refused: Callable[[httpx.Response], TaskError] | None = None,
    **options: Any,
) -> httpx.Response:
    """The successful (2xx) answer to a request, read within 60 s; `what` names the other side in messages.

    `refused` says what an unsuccessful answer means; left out, `refusal` does.

    Raises:
        RetryableError: it could not be reached, was overloaded or broken.
        PermanentError: it understood and refused.
        CircuitOpenError: it was not asked (see `GuardedClient`).
    """
    try:
        async with asyncio.timeout(_LONGEST_CALL):
            response = await client.request(method, url, **options)
    except TimeoutError:
        raise RetryableError(f"{what} took longer than {_LONGEST_CALL:g} s to answer") from None
    except httpx.InvalidURL as error:
        raise PermanentError(f"{what} has an invalid URL: {error}") from None
    except httpx.TransportError as error:
        raise RetryableError(f"{what} could not be reached: {describe(error)}") from error
    if not response.is_success:
        raise refusal(response, what=what) if refused is None else refused(response)
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
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def describe(error: Exception) -> str:
    """The text of `error`, or its name if it has none, as many of httpx's time-outs do."""
    return str(error) or type(error).__name__


def _host(url: httpx.URL) -> str:
    return f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _verdict(response: httpx.Response) -> Verdict:
    if response.status_code in _BUSY:
        patience = retry_after(response.headers, now=datetime.now(UTC))
        if patience:
            return Busy(patience)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return Unknown()
    return Broken() if response.is_server_error else Answered()


def _detail(response: httpx.Response) -> str:
    try:
        match response.json():
            case {"error": {"message": str(message), "code": str(code)}}:
                return f"{message} ({code})"
            case {"error": {"message": str(message)}} | {"message": str(message)}:
                return message
    except ValueError:
        pass
    # Between two words: half a token would be a secret that nobody recognizes any more.
    return textwrap.shorten(response.text, _LONGEST_DETAIL, placeholder=" …")
