"""What a log line has, and what it must not have."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from opsagent_operator.runtime.logs import configure_logs


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_each_line_is_json_whoever_logs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO")
    structlog.get_logger("ours").warning("something happened", object="shop/ops-agent")
    logging.getLogger("library").error("so it did: %s", "here")
    logging.getLogger("library").debug("nobody asked")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (ours["message"], ours["object"]) == ("something happened", "shop/ops-agent")
    assert (theirs["message"], theirs["level"]) == ("so it did: here", "error")
    assert ours["time"].endswith("Z")


def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO")

    def connect(password: str) -> None:
        raise RuntimeError(f"refused ({len(password)} characters)")

    try:
        connect("hunter2")
    except RuntimeError:
        structlog.get_logger("ours").exception("it failed")
    line = capsys.readouterr().out
    assert "hunter2" not in line.replace('connect(\\"hunter2\\")', "")
    assert json.loads(line)["exception"][0]["exc_type"] == "RuntimeError"
