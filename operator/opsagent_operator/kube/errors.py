"""What an answer of the API server means to the operator.

Everything above this package sees these errors only, never an HTTP status or a client library's
exception.
"""
# ruff: noqa: N818 - the names of the API server's own reasons, which need no suffix

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

__all__ = [
    "Conflict",
    "Forbidden",
    "KubeError",
    "NamespaceTerminating",
    "NotFound",
    "Rejected",
    "Unavailable",
    "error_from_status",
]


class KubeError(Exception):
    """A request to the API server that did not do what it should."""


class Unavailable(KubeError):
    """The API server cannot be reached, is overloaded or broken: try again later."""


class NotFound(KubeError):
    """There is no such object."""


class Conflict(KubeError):
    """The object exists already, or is another one of the same name."""


class NamespaceTerminating(KubeError):
    """Nothing can be created in a namespace that is being deleted; that is not an error of ours."""


class Rejected(KubeError):
    """The API server refuses what was sent (invalid, over quota, an admission policy).

    Trying again is useless until somebody changes something; the message is the server's own.
    """


class Forbidden(Rejected):
    """Refused for want of a permission, or by quota or policy: Kubernetes answers 403 to all three."""


def error_from_status(code: int, body: Mapping[str, Any]) -> KubeError:
    """The error for an HTTP status of 400 or more; `body` is the `Status` object that came with it."""
    message = str(body.get("message") or f"HTTP {code}")
    match code:
        case HTTPStatus.NOT_FOUND:
            return NotFound(message)
        case HTTPStatus.CONFLICT:
            return Conflict(message)
        case HTTPStatus.FORBIDDEN if _namespace_terminates(body):
            return NamespaceTerminating(message)
        case HTTPStatus.FORBIDDEN:
            return Forbidden(message)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_MANY_REQUESTS:
            return Unavailable(message)
        case _ if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(message)
        case _:
            return Rejected(message)


def _namespace_terminates(body: Mapping[str, Any]) -> bool:
    details = body.get("details") or {}
    return any(
        cause.get("reason") == "NamespaceTerminating" for cause in details.get("causes") or ()
    )
