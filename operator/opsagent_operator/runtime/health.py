"""/healthz, /readyz and /metrics.

The first two are served on the operator's own event loop, on purpose: if the loop is blocked they do not
answer, and the kubelet takes a probe that times out for a failure.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Check", "serve"]

Check = Callable[[], str | None]
"""Says what is wrong, or None."""


async def serve(
    *,
    host: str,
    port: int,
    healthy: Iterable[Check],
    ready: Iterable[Check],
    metrics: CollectorRegistry,
) -> tuple[web.AppRunner, int]:
    """Serve until the runner is cleaned up; returns the port, too."""
    application = web.Application()
    application.router.add_get("/healthz", _endpoint(tuple(healthy)))
    application.router.add_get("/readyz", _endpoint(tuple(ready)))
    application.router.add_get("/metrics", _metrics_endpoint(metrics))
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]


def _endpoint(checks: Iterable[Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        problems = [problem for check in checks if (problem := check()) is not None]
        if problems:
            return web.json_response(
                {"status": "failing", "problems": problems}, status=HTTPStatus.SERVICE_UNAVAILABLE
            )
        return web.json_response({"status": "ok"})

    return answer


def _metrics_endpoint(
    registry: CollectorRegistry,
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        # With thousands of objects it takes a while, for which nobody else should have to wait.
        page = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer
