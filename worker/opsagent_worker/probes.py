"""/livez, /readyz and /metrics, answered from a thread of their own.

A thread, because the question "is the event loop blocked?" cannot be asked of the event loop: from here a blocked loop is
a 503 that says so, not a time-out. The standard library's WSGI server with prometheus-client's application is all it
takes; requests are a probe every few seconds and a scrape.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer


@dataclass(slots=True)
class Health:
    """What the probes report. Written by the event loop, read by the probes' thread; each write is one assignment."""

    claim_limit: float
    """Seconds the claim loop may take for one turn, waiting for work or for Redis included."""
    loop_limit: float = 10.0
    """Seconds the event loop may be unresponsive."""
    clock: Callable[[], float] = time.monotonic
    ready: bool = False
    """Set once the queue has answered for the first time, and never unset: a busy, draining or cut-off worker must not
    look broken to whoever picks pods to delete. What Redis does now is in the metrics."""
    claiming: bool = True
    """False once the worker drains: the claim loop has ended on purpose."""
    _claim_turn: float = field(init=False)
    _loop_turn: float = field(init=False)

    def __post_init__(self) -> None:
        self._claim_turn = self._loop_turn = self.clock()

    def claim_loop_turned(self) -> None:
        self._claim_turn = self.clock()

    def event_loop_turned(self) -> None:
        self._loop_turn = self.clock()

    def failures(self) -> list[str]:
        """Why the process should be restarted; empty while it is alive."""
        now = self.clock()
        failures = []
        if now - self._loop_turn > self.loop_limit:
            failures.append(f"the event loop has been blocked for {now - self._loop_turn:.0f} s")
        if self.claiming and now - self._claim_turn > self.claim_limit:
            failures.append(f"the claim loop has not turned for {now - self._claim_turn:.0f} s")
        return failures


class ProbeServer:
    """Serves the probes from `start` to `stop`; `port` is the one in use, chosen by the system if 0 was asked for."""

    def __init__(self, *, port: int, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        self._metrics = make_wsgi_app(registry)
        # Every address: kubelet and Prometheus come from outside the pod.
        self._server = make_server(
            "",
            port,
            self._answer,
            server_class=_Server,
            handler_class=_SilentHandler,
        )
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="probes", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # Wakes the thread, which would notice only within half a second that it is to stop. (Linux; elsewhere it does.)
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                body: Iterable[bytes] = self._metrics(environ, start_response)
                return body
            case "/livez":
                failures = self._health.failures()
                return _text(start_response, alive=not failures, text="; ".join(failures) or "ok")
            case "/readyz":
                ready = self._health.ready
                text = "ok" if ready else "the queue has not answered yet"
                return _text(start_response, alive=ready, text=text)
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
                return [b"there are /livez, /readyz and /metrics\n"]


def _text(start_response: StartResponse, *, alive: bool, text: str) -> Iterable[bytes]:
    status = "200 OK" if alive else "503 Service Unavailable"
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


class _Server(ThreadingWSGIServer):
    # Pods may have addresses of either family.
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer would look its own name up in the DNS here, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "worker", self.server_address[1]
        self.setup_environ()


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: a line for each probe would bury the others."""
