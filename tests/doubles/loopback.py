"""An HTTP server on loopback that a test scripts: the base of the doubles, and a target for health checks.

It runs in threads, so a request may be held open while the test looks at the world.
"""

import json
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

_DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    body: Any = None
    """Text is sent as it is, anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """Holds requests until it is opened, at the latest by the end of its `with` block; tells how many arrived."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = False
        self._arrived = 0

    @property
    def arrived(self) -> int:
        return self._arrived

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.open()

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def pass_through(self) -> None:
        with self._changed:
            self._arrived += 1
            self._changed.wait_for(lambda: self._open, timeout=_DEADLINE_SECONDS)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news: some tests want that."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class LoopbackServer:
    """Answers each request with what `respond` returns for it; None drops the connection without an answer."""

    def __init__(
        self,
        respond: Callable[[Request], Response | None],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), self._handler_class(respond))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler_class(
        self, respond: Callable[[Request], Response | None]
    ) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                parts = urlsplit(self.path)
                request = Request(
                    method=self.command,
                    path=parts.path,
                    query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
                )
                requests.append(request)
                response = respond(request)
                if response is None:
                    self.close_connection = True
                    return
                try:
                    self._send(response)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = (
                        True  # the client was killed or gave up, as some tests want
                    )

            def _send(self, response: Response) -> None:
                as_text = isinstance(response.body, str)
                text = response.body if as_text else json.dumps(response.body)
                content = text.encode()
                self.send_response(response.status)
                self.send_header("Content-Type", "text/plain" if as_text else "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the base class's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Nothing: requests are recorded, not printed."""

        return Handler
