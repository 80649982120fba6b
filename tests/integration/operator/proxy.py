"""A proxy between the operator and the API server that can fail in every way a network can."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from aiohttp import web
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Watch:
    plural: str
    response: web.StreamResponse
    transport: asyncio.BaseTransport | None


class ApiProxy:
    """Serves the API of `kubeconfig` on a loopback port, without TLS; runs in a thread of its own."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._upstream_config = kubeconfig
        self.kubeconfig = folder / "proxy.kubeconfig"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._refusing: int | None = None
        self._expired: set[str] = set()
        self._watches: list[_Watch] = []
        self.requests: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()
        self._do(self._set_up())

    def close(self) -> None:
        self._do(self._tear_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def go_away(self) -> None:
        """Refuse connections and cut those that are open."""
        self._do(self._runner.cleanup())

    def come_back(self) -> None:
        self._do(self._listen(self._port))

    def refuse(self, status: int | None) -> None:
        """Answer every request with this status and cut all watches; None: serve again."""
        self._refusing = status
        if status is not None:
            self._do(self._cut())

    def expire(self, *plurals: str) -> None:
        """Tell the next watch of each kind that what it has seen is too old to go on from."""
        self._expired.update(plurals)

    def send_error(self, plural: str, code: int) -> None:
        """Put an ERROR event into each open watch of a kind, as the API server would."""
        self._do(self._send(plural, _error_event(code)))

    def send(self, plural: str, text: str) -> None:
        """Put something into each open watch of a kind."""
        self._do(self._send(plural, text))

    def open_watches(self) -> Counter[str]:
        """How many watches are open, by kind."""
        return Counter(watch.plural for watch in list(self._watches))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _set_up(self) -> None:
        upstream = Configuration()
        await config.load_kube_config(  # type: ignore[no-untyped-call] # not annotated there
            config_file=str(self._upstream_config), client_configuration=upstream
        )
        tls = RESTClientObject(upstream).ssl_context
        # Not aiohttp: it leaves connections unclosed whose TLS handshake is cancelled.
        self._client = httpx.AsyncClient(
            base_url=upstream.host,
            verify=tls,
            timeout=httpx.Timeout(10, read=None),
            limits=httpx.Limits(max_connections=None),
        )
        self._port = 0
        await self._listen(0)
        server = {"server": f"http://127.0.0.1:{self._port}"}
        context = {"cluster": "proxy", "user": "nobody"}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "proxy", "cluster": server}],
                    "users": [{"name": "nobody", "user": {}}],
                    "contexts": [{"name": "proxy", "context": context}],
                    "current-context": "proxy",
                }
            )
        )

    async def _listen(self, port: int) -> None:
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def _tear_down(self) -> None:
        await self._cut()
        await self._runner.cleanup()
        await self._client.aclose()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        watching = request.query.get("watch") == "true"
        self.requests[plural] += 1
        if self._refusing is not None:
            body = {"kind": "Status", "apiVersion": "v1", "code": self._refusing, "message": "no"}
            return web.json_response(body, status=self._refusing)
        if watching and plural in self._expired:
            self._expired.discard(plural)
            return web.Response(text=_error_event(410), content_type="application/json")
        headers = {
            name: request.headers[name]
            for name in ("Content-Type", "Accept", "User-Agent")
            if name in request.headers
        }
        async with self._client.stream(
            request.method, request.path_qs, content=await request.read() or None, headers=headers
        ) as answer:
            response = web.StreamResponse(
                status=answer.status_code, headers={"Content-Type": answer.headers["Content-Type"]}
            )
            await response.prepare(request)
            watch = _Watch(plural, response, request.transport)
            if watching:
                self._watches.append(watch)
            try:
                async for data in answer.aiter_bytes():
                    await response.write(data)
            finally:
                if watching:
                    self._watches.remove(watch)
        return response

    async def _send(self, plural: str, text: str) -> None:
        for watch in list(self._watches):
            if watch.plural == plural:
                await watch.response.write(text.encode())

    async def _cut(self) -> None:
        for watch in list(self._watches):
            if watch.transport is not None:
                watch.transport.close()


def _error_event(code: int) -> str:
    status = {"kind": "Status", "apiVersion": "v1", "code": code, "message": "injected"}
    return json.dumps({"type": "ERROR", "object": status}) + "\n"
