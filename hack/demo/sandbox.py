"""What tasks reach out to, as one small server inside the cluster.

It runs from the worker's image, so it knows the standard library alone. It answers for

- monitored URLs: `/health` (the orchestrator's too), `/slow?seconds=2`, `/status/503`;
- work that can be watched: `/work?task=ID&seconds=2` answers after that time, `/hold?task=ID&gate=G`
  when gate G is opened; the journal tells who began, who got an answer and who hung up before;
- the Vercel API: the calls that deploy tasks make, with the states a build goes through;
- a Slack webhook.

`/journal` returns what happened as a list of objects; `/open/G` opens gate G for ever. Both are GET, so
that `kubectl get --raw` reaches them.
"""

import json
import re
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

PORT = 8080
SIGN_OF_LIFE = 3.0
"""Seconds between two interim answers to a request that is held: the client's time-out is 15 s."""
BUILD_SECONDS = 2.0
"""How long a deployment takes: a fifth of it queued, the rest building."""
PROJECT_THAT_BREAKS = "legacy-site"
"""Builds of this project fail."""
FLAKY = "flaky"
"""The first message to Slack with this word and a new text is refused with a 503."""

Query = dict[str, str]


@dataclass
class World:
    """What the server remembers, for as long as it runs."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    journal: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def note(self, what: str, **about: Any) -> None:
        with self.lock:
            self.journal.append({"what": what, "at": time.time(), **about})

    def gate(self, name: str) -> threading.Event:
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    def first_time(self, text: str) -> bool:
        with self.lock:
            known = text in self.refused
            self.refused.add(text)
        return not known


def deployment_view(deployment: dict[str, Any], now: float) -> dict[str, Any]:
    """A deployment as Vercel would show it at `now` (seconds since the epoch)."""
    age = now - deployment["createdAt"] / 1000
    state = "QUEUED" if age < BUILD_SECONDS / 5 else "BUILDING"
    if age >= BUILD_SECONDS:
        state = "ERROR" if deployment["name"] == PROJECT_THAT_BREAKS else "READY"
    shown = {
        **deployment,
        "readyState": state,
        "state": state,
        "uid": deployment["id"],
        "aliasAssigned": state == "READY",
    }
    if state == "READY":
        shown["ready"] = deployment["createdAt"] + round(BUILD_SECONDS * 1000)
    if state == "ERROR":
        shown["errorMessage"] = 'Command "npm run build" exited with 1'
        shown["errorCode"] = "BUILD_UTILS_SPAWN_1"
    return shown


class Handler(BaseHTTPRequestHandler):
    """One request."""

    world: ClassVar[World]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        routes: dict[str, Callable[..., None]] = {
            r"/health": lambda _: self.answer({"status": "ok"}),
            r"/slow": self.slow,
            r"/status/(\d{3})": lambda _, code: self.answer({"status": code}, int(code)),
            r"/work": self.work,
            r"/hold": self.hold,
            r"/open/([\w-]+)": self.open_gate,
            r"/journal": lambda _: self.answer(list(self.world.journal)),
            r"/v7/deployments": self.list_deployments,
            r"/v13/deployments/([\w.-]+)": self.get_deployment,
            r"/v3/deployments/([\w.-]+)/events": self.build_log,
        }
        self.route(routes)

    def do_POST(self) -> None:
        routes: dict[str, Callable[..., None]] = {
            r"/v13/deployments": self.create_deployment,
            r"/slack/.+": self.slack,
        }
        self.route(routes)

    def route(self, routes: dict[str, Callable[..., None]]) -> None:
        parts = urlsplit(self.path)
        for pattern, serve in routes.items():
            if found := re.fullmatch(pattern, parts.path):
                serve(dict(parse_qsl(parts.query)), *found.groups())
                return
        self.answer({"error": {"code": "not_found", "message": "Not found"}}, 404)

    # Monitored URLs, and work that can be watched.

    def slow(self, query: Query) -> None:
        time.sleep(float(query.get("seconds", "2")))
        self.answer({"status": "ok"})

    def work(self, query: Query) -> None:
        done = time.monotonic() + float(query.get("seconds", "1"))
        self.watched(query["task"], lambda seconds: self.rest(done, seconds))

    def hold(self, query: Query) -> None:
        self.watched(query["task"], self.world.gate(query["gate"]).wait)

    @staticmethod
    def rest(until: float, seconds: float) -> bool:
        """Rest for up to `seconds`; whether `until` (monotonic) has come."""
        time.sleep(max(0.0, min(seconds, until - time.monotonic())))
        return time.monotonic() >= until

    def watched(self, task: str, done: Callable[[float], bool]) -> None:
        """Answer when `done`, asked with a number of seconds it may take, says so."""
        self.world.note("started", task=task)
        shown = time.monotonic()
        while not done(0.1):
            if self.hung_up():
                self.world.note("abandoned", task=task)
                self.close_connection = True
                return
            if time.monotonic() - shown >= SIGN_OF_LIFE:
                shown = time.monotonic()
                self.send_response_only(HTTPStatus.PROCESSING)
                self.end_headers()
        self.world.note("abandoned" if self.hung_up() else "answered", task=task)
        self.answer({"task": task})

    def hung_up(self) -> bool:
        """Whether the client has closed its end, as the kernel does for one that was killed."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def open_gate(self, _: Query, name: str) -> None:
        self.world.gate(name).set()
        self.answer({"open": name})

    # Vercel.

    def known_team(self, query: Query) -> bool:
        token = self.headers.get("Authorization", "")
        if token.startswith("Bearer ") and query.get("teamId", "").startswith("team_"):
            return True
        self.answer({"error": {"code": "forbidden", "message": "Not authorized"}}, 403)
        return False

    def list_deployments(self, query: Query) -> None:
        if not self.known_team(query):
            return
        with self.world.lock:
            views = [deployment_view(known, time.time()) for known in self.world.deployments]
        found = [
            view
            for view in reversed(views)
            if view["name"] == query.get("projectId")
            and int(query.get("since", "0"))
            <= view["createdAt"]
            < int(query.get("until", view["createdAt"] + 1))
            and query.get("state", view["readyState"]) == view["readyState"]
        ]
        page = found[: int(query.get("limit", "20"))]
        pagination = {
            "count": len(page),
            "next": page[-1]["createdAt"] if len(page) < len(found) else None,
            "prev": page[0]["createdAt"] if page else None,
        }
        self.answer({"deployments": page, "pagination": pagination})

    def get_deployment(self, query: Query, name: str) -> None:
        if not self.known_team(query):
            return
        with self.world.lock:
            found = [known for known in self.world.deployments if known["id"] == name]
        if found:
            self.answer(deployment_view(found[0], time.time()))
        else:
            self.answer({"error": {"code": "not_found", "message": "No such deployment"}}, 404)

    def build_log(self, query: Query, name: str) -> None:
        if self.known_team(query):
            self.answer([{"type": "stderr", "text": f"npm run build failed for {name}"}])

    def create_deployment(self, query: Query) -> None:
        body = self.body()
        if not self.known_team(query):
            return
        if not isinstance(body.get("gitSource"), dict) and "deploymentId" not in body:
            self.answer({"error": {"code": "bad_request", "message": "No sources given"}}, 400)
            return
        name, identity = str(body["name"]), f"dpl_{uuid.uuid4().hex[:20]}"
        deployment = {
            "id": identity,
            "name": name,
            "createdAt": int(time.time() * 1000),
            "url": f"{name}-{identity[4:12]}.vercel.app",
            "inspectorUrl": f"https://vercel.com/demo/{name}/{identity[4:]}",
            "target": body.get("target"),
            "meta": body.get("meta", {}),
        }
        with self.world.lock:
            self.world.deployments.append(deployment)
        self.world.note("deployed", task=deployment["meta"].get("opsagentTask"), project=name)
        self.answer(deployment_view(deployment, time.time()))

    # Slack.

    def slack(self, _: Query) -> None:
        text = str(self.body().get("text", ""))
        if FLAKY in text and self.world.first_time(text):
            self.world.note("refused", text=text)
            self.answer({"error": "try again"}, 503)
            return
        self.world.note("told", text=text)
        self.send(b"ok", "text/plain", 200)

    # HTTP.

    def body(self) -> dict[str, Any]:
        read: Any = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        return read if isinstance(read, dict) else {}

    def answer(self, value: object, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), "application/json", status)

    def send(self, content: bytes, content_type: str, status: int) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # nobody is there any more to be answered

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """The journal is the log."""


class Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own, on `port` of every interface (0: any port)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        handler = type("HandlerOfOneWorld", (Handler,), {"world": World()})
        super().__init__(("", port), handler)


if __name__ == "__main__":
    Server(PORT).serve_forever()
