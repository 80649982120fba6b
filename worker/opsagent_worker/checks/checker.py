"""Checks a target the way its scheme says."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import assert_never

import httpx
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from opsagent_queue import ConfigurationError, connect
from opsagent_worker.checks.certificate import (
    certificate_days,
    handshake,
    judge_certificate,
    unverified_days,
)
from opsagent_worker.checks.expectations import Expectations, failed
from opsagent_worker.checks.http import check_http
from opsagent_worker.checks.ping import check_redis, check_tcp
from opsagent_worker.checks.result import Check, HealthReport
from opsagent_worker.checks.target import Target
from opsagent_worker.outbound import describe


@cache
def httpx_authorities() -> ssl.SSLContext:
    """The authorities that httpx trusts, so that a `tls` check and an `https` one agree. Takes long to load."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True)
class HealthChecker:
    """That a target does not answer is a result, not an error."""

    client: httpx.AsyncClient
    authorities: Callable[[], ssl.SSLContext] = httpx_authorities

    async def check(
        self, target: Target, wanted: Expectations | None = None, *, orchestrator: bool = False
    ) -> HealthReport:
        """Checks `target` once; of an `orchestrator`, what its /health says of itself counts too.

        Raises:
            ValueError: the target is not one that can be checked.
        """
        wanted = wanted or Expectations()
        checks: tuple[Check, ...]
        match target.scheme:
            case "http" | "https":
                checks = await check_http(self.client, target, wanted, orchestrator=orchestrator)
            case "tcp":
                checks = (await check_tcp(target, wanted),)
            case "tls":
                checks = (await self._check_tls(target, wanted),)
            case "redis" | "rediss":
                checks = (await _check_redis(target, wanted),)
            case scheme:
                assert_never(scheme)
        return HealthReport(target=target.shown, checks=checks)

    async def _check_tls(self, target: Target, wanted: Expectations) -> Check:
        trusted = await asyncio.to_thread(self.authorities)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(wanted.timeout):
                der = await handshake(target.host, target.port, context=trusted)
        except ssl.SSLCertVerificationError as error:
            patience = wanted.timeout - (time.perf_counter() - started)
            days = await unverified_days(target.host, target.port, patience=patience)
            reason = error.verify_message.rstrip(".")
            return judge_certificate(days, refused=reason, warn_days=wanted.warn_days)
        except TimeoutError:
            return wanted.unanswered("certificate")
        except OSError as error:
            return failed("certificate", describe(error))
        return judge_certificate(
            certificate_days(der, now=datetime.now(UTC)),
            refused=None,
            warn_days=wanted.warn_days,
            latency_ms=round((time.perf_counter() - started) * 1000, 1),
        )


async def _check_redis(target: Target, wanted: Expectations) -> Check:
    try:
        redis = connect(
            target.url,
            socket_timeout=wanted.timeout,
            max_connections=1,
            client_name="opsagent-monitor",
        )
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    # Asked once: whether a second try would have helped is not the question.
    redis.set_retry(Retry(NoBackoff(), 0))
    async with redis:
        return await check_redis(redis.ping, wanted)
