"""What answers of the API server mean."""

from typing import Any

import pytest

from opsagent_operator.kube import errors

TERMINATING = {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}


@pytest.mark.parametrize(
    ("code", "body", "meaning"),
    [
        (404, {}, errors.NotFound),
        (409, {}, errors.Conflict),
        (422, {}, errors.Rejected),
        (400, {}, errors.Rejected),
        (403, {"message": "exceeded quota"}, errors.Forbidden),
        (403, TERMINATING, errors.NamespaceTerminating),
        (401, {}, errors.Unavailable),
        (429, {}, errors.Unavailable),
        (500, {}, errors.Unavailable),
        (503, {}, errors.Unavailable),
    ],
)
def test_a_status_becomes_an_error(code: int, body: dict[str, Any], meaning: type) -> None:
    assert type(errors.error_from_status(code, body)) is meaning


def test_an_error_says_what_the_server_said() -> None:
    assert str(errors.error_from_status(403, {"message": "exceeded quota"})) == "exceeded quota"
    assert str(errors.error_from_status(500, {})) == "HTTP 500"


def test_what_is_forbidden_is_refused() -> None:
    assert issubclass(errors.Forbidden, errors.Rejected)
