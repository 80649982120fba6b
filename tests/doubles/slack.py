"""A Slack incoming webhook: takes what Slack takes, refuses what Slack refuses.

Rules from Slack's "Sending messages using incoming webhooks": POST of a JSON object with `text` or `blocks`, answered with
the text `ok`; an unusable body is 400 `invalid_payload`, one without content 400 `no_text`; an unknown hook is 404
`no_service`.
"""

import json
from types import TracebackType
from typing import Any, Final, Self

from doubles.loopback import LoopbackServer, Request, Response

_PATH: Final = "/services/T0000/B0000/a-secret-of-the-hook"


class SlackDouble:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.next_responses: list[Response] = []
        """Given instead of the usual answers, first one first."""
        self._server = LoopbackServer(self._respond)
        self.webhook_url = self._server.url + _PATH

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    def _respond(self, request: Request) -> Response:
        if self.next_responses:
            return self.next_responses.pop(0)
        if request.method != "POST" or request.path != _PATH:
            return Response(404, "no_service")
        try:
            message = request.json()
        except json.JSONDecodeError:
            return Response(400, "invalid_payload")
        if not isinstance(message, dict):
            return Response(400, "invalid_payload")
        if not message.get("text") and not message.get("blocks"):
            return Response(400, "no_text")
        self.messages.append(message)
        return Response(200, "ok")
