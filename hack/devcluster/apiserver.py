"""The little of the Kubernetes API that starting a cluster needs, as its administrator."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from devcluster.pki import Pki

FIELD_MANAGER = "devcluster"
TIMEOUT = 10.0
"""Seconds one request may take."""


class ApiError(Exception):
    """The API server answered with an error; the text holds status and body."""


_NO_ANSWER = (OSError, http.client.HTTPException, ApiError)


@dataclass(frozen=True)
class ApiServer:
    """An API server at `url`, spoken to with the administrator's certificate of `pki`."""

    url: str
    pki: Pki

    def ready(self) -> bool:
        """True once every start-up hook is through."""
        try:
            self._call("GET", "/readyz")
        except _NO_ANSWER:
            return False
        return True

    def has_ready_node(self) -> bool:
        """Whether the API answers and knows a node that is ready."""
        try:
            return self.ready_nodes() > 0
        except _NO_ANSWER:
            return False

    def get(self, path: str) -> Any:
        """The object at `path`, or None if there is none."""
        try:
            return json.loads(self._call("GET", path))
        except ApiError as error:
            if error.args[0] == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def apply(self, path: str, manifest: Mapping[str, Any]) -> None:
        """Make the object at `path` what `manifest` says (server-side apply)."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        body = json.dumps(manifest).encode()
        self._call("PATCH", path + query, body, "application/apply-patch+yaml")

    def default_account_exists(self) -> bool:
        """True once pods can be created in the default namespace."""
        return self.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

    def ready_nodes(self) -> int:
        """How many nodes say they are ready."""
        return sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in self.get("/api/v1/nodes")["items"]
            for condition in node["status"].get("conditions", ())
        )

    def _call(
        self, method: str, path: str, body: bytes | None = None, media_type: str = ""
    ) -> bytes:
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT, context=self.tls
        )
        try:
            connection.request(method, path, body, {"Content-Type": media_type} if body else {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise ApiError(answer.status, content.decode(errors="replace"))
        return content

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What the server is told apart from others by, and the administrator from users."""
        context = ssl.create_default_context(cafile=str(self.pki.authority))
        context.load_cert_chain(self.pki.certificate("admin"), self.pki.key("admin"))
        return context
