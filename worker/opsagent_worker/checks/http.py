"""Does a URL answer, as it should, and how fast?"""

import asyncio
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import httpx

from opsagent_worker.checks.certificate import (
    certificate_days,
    judge_certificate,
    unverified_days,
    verification_error,
)
from opsagent_worker.checks.expectations import Expectations, failed
from opsagent_worker.checks.result import Check, CheckKind, HealthStatus
from opsagent_worker.checks.target import Target
from opsagent_worker.outbound import UNGUARDED, describe

_LONGEST_BODY: Final = 1024 * 1024
"""Bytes of an answer that are looked at; the rest may be endless."""

_WORDS: Final = {
    **dict.fromkeys(("ok", "healthy", "up", "pass", "ready", "alive"), HealthStatus.HEALTHY),
    **dict.fromkeys(("degraded", "warn", "warning"), HealthStatus.DEGRADED),
    **dict.fromkeys(("unhealthy", "down", "fail", "error"), HealthStatus.UNHEALTHY),
}
"""How services call their state in `status`: FastAPI examples, Spring Boot's actuator and the IETF's health+json draft."""


@dataclass(frozen=True, slots=True)
class _Answer:
    response: httpx.Response
    latency_ms: float
    body: bytes
    days: int | None


async def check_http(
    client: httpx.AsyncClient, target: Target, wanted: Expectations, *, orchestrator: bool = False
) -> tuple[Check, ...]:
    """One GET, and for https what its certificate is like. Of an `orchestrator` the answer's own `status` counts too.

    Raises:
        ValueError: httpx cannot send to this URL.
    """
    kind: CheckKind = "orchestrator" if orchestrator else "http"
    reads = orchestrator or wanted.body is not None
    started = time.perf_counter()
    try:
        async with asyncio.timeout(wanted.timeout):
            answer = await _get(client, target.url, wanted, reads=reads)
    except TimeoutError:
        return (wanted.unanswered(kind),)
    except httpx.InvalidURL as error:
        raise ValueError(f"this is no URL to check: {error}") from None
    except httpx.RequestError as error:
        unreached = failed(kind, describe(error))
        refused = verification_error(error)
        if refused is None or target.scheme != "https":
            return (unreached,)
        patience = wanted.timeout - (time.perf_counter() - started)
        days = await unverified_days(target.host, target.port, patience=patience)
        reason = refused.verify_message.rstrip(".")
        return unreached, judge_certificate(days, refused=reason, warn_days=wanted.warn_days)
    checks = [_judge(kind, answer, wanted)]
    if answer.days is not None:
        checks.append(judge_certificate(answer.days, refused=None, warn_days=wanted.warn_days))
    return tuple(checks)


async def _get(
    client: httpx.AsyncClient, url: str, wanted: Expectations, *, reads: bool
) -> _Answer:
    started = time.perf_counter()
    async with client.stream(
        "GET",
        url,
        follow_redirects=wanted.follow_redirects,
        timeout=wanted.timeout,
        extensions=UNGUARDED,
    ) as response:
        latency_ms = round((time.perf_counter() - started) * 1000, 1)
        stream = response.extensions.get("network_stream")
        tls = stream.get_extra_info("ssl_object") if stream is not None else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        days = certificate_days(der, now=datetime.now(UTC)) if der else None
        return _Answer(response, latency_ms, await _head(response) if reads else b"", days)


async def _head(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= _LONGEST_BODY:
            break
    return bytes(body[:_LONGEST_BODY])


def _judge(kind: CheckKind, answer: _Answer, wanted: Expectations) -> Check:
    code = answer.response.status_code
    detail = f"answered {code} {answer.response.reason_phrase}".rstrip()
    good = wanted.answered(kind, detail, latency_ms=answer.latency_ms, http_status=code)
    if wanted.http_status is None and code >= httpx.codes.BAD_REQUEST:
        return replace(good, status=HealthStatus.UNHEALTHY, detail=detail)
    if wanted.http_status is not None and code != wanted.http_status:
        detail = f"{detail} instead of {wanted.http_status}"
        return replace(good, status=HealthStatus.UNHEALTHY, detail=detail)
    if wanted.body is not None and wanted.body not in answer.body.decode(errors="replace"):
        detail = f"{detail} without the expected text"
        return replace(good, status=HealthStatus.UNHEALTHY, detail=detail)
    said = _own_word(answer.body) if kind == "orchestrator" else None
    own = _WORDS.get(said, HealthStatus.HEALTHY) if said is not None else HealthStatus.HEALTHY
    if own is not HealthStatus.HEALTHY:
        return replace(good, status=own, detail=f"{detail} and calls itself {said}")
    return good


def _own_word(body: bytes) -> str | None:
    """What a JSON answer gives as its `status`, cut to what a status can be."""
    try:
        match json.loads(body):
            case {"status": str(word)}:
                return word.lower()[:40]
    except (ValueError, RecursionError):
        pass
    return None
