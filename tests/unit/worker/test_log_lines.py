"""Log lines are gathered, complete, JSON whatever is in them, and there when it matters."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from opsagent_worker import logs
from opsagent_worker.logs import Lines, TaskFields, current_task
from opsagent_worker.redaction import MASK, Redactor

SECRET = 'pa"ss\nwörd'
FIELDS = TaskFields("t-1", "tr-1", "monitor", 2)


@pytest.fixture
def lines() -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield logs.configure(level="INFO", redactor=Redactor([SECRET, "1234"]))
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_lines_of_one_turn_of_the_loop_are_written_together(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    log = structlog.get_logger()
    with lines.gathering():
        log.info("first")
        logging.getLogger("library").warning("second")
        lines.task(logging.INFO, "third", FIELDS)
        assert written(capsys) == []
        await asyncio.sleep(0)
        assert [line["event"] for line in written(capsys)] == ["first", "second", "third"]


async def test_an_error_is_written_at_once_with_all_before_it(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    with lines.gathering():
        structlog.get_logger().info("before")
        structlog.get_logger().error("broken")
        assert [line["event"] for line in written(capsys)] == ["before", "broken"]


async def test_what_is_left_is_written_at_the_end(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    with lines.gathering():
        structlog.get_logger().info("last words")
    structlog.get_logger().info("after the end")

    assert [line["event"] for line in written(capsys)] == ["last words", "after the end"]


async def test_what_a_thread_logs_is_written_at_once(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    with lines.gathering():
        await asyncio.to_thread(lambda: structlog.get_logger().info("from a thread"))
        assert [line["event"] for line in written(capsys)] == ["from a thread"]


class _Stdout(io.StringIO):
    """Does something else in the middle of a write."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile: Callable[[], object] | None = meanwhile

    def write(self, text: str) -> int:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().write(text)


@pytest.mark.timeout(10)
@pytest.mark.usefixtures("lines")
def test_what_is_logged_while_lines_are_written_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the garbage collector runs there, and finds a task whose exception nobody has looked at."""
    stdout = _Stdout(lambda: logging.getLogger("asyncio").error("never retrieved"))
    monkeypatch.setattr(sys, "stdout", stdout)

    structlog.get_logger().info("a line")

    events = {json.loads(line)["event"] for line in stdout.getvalue().splitlines()}
    assert events == {"a line", "never retrieved"}


def _fail() -> None:
    raise BrokenPipeError


@pytest.mark.usefixtures("lines")
def test_lines_that_cannot_be_written_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = _Stdout(_fail)
    monkeypatch.setattr(sys, "stdout", stdout)

    structlog.get_logger().error("lost")
    structlog.get_logger().error("written")

    assert [json.loads(line)["event"] for line in stdout.getvalue().splitlines()] == ["written"]


def test_every_line_logged_while_a_task_runs_names_it(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    token = current_task.set(FIELDS)
    structlog.get_logger().info("in the handler", attempt="its own field")
    logging.getLogger("library").warning("in a library")
    current_task.reset(token)
    structlog.get_logger().info("elsewhere")

    own, library, elsewhere = written(capsys)
    assert (own["task_id"], own["trace_id"], own["task_type"]) == ("t-1", "tr-1", "monitor")
    assert own["attempt"] == "its own field"
    assert (library["task_id"], library["attempt"]) == ("t-1", 2)
    assert "task_id" not in elsewhere
    assert lines.level == logging.INFO


def test_the_line_of_a_task_looks_like_any_other(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.task(logging.INFO, "task completed", FIELDS, 0.25)
    structlog.get_logger().info("task completed", seconds=0.25, **FIELDS.as_dict())
    lines.task(logging.DEBUG, "task started", FIELDS)

    quick, usual = written(capsys)
    assert quick.keys() == usual.keys()
    for line in (quick, usual):
        moment = line.pop("timestamp")
        assert moment.endswith("Z")
        assert "T" in moment
    assert quick == usual


@pytest.mark.parametrize(
    "value", [SECRET, f"x{SECRET}y", [SECRET], {SECRET: 1}, ValueError(SECRET)]
)
def test_no_secret_is_written_whatever_it_is_wrapped_in(
    lines: Lines, capsys: pytest.CaptureFixture[str], value: Any
) -> None:
    structlog.get_logger().info("seen", value=value)

    text = capsys.readouterr().out
    json.loads(text)
    assert "ss\\nw" not in text
    assert lines.level == logging.INFO


def test_a_secret_that_is_a_number_breaks_no_line(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.task(logging.INFO, "task completed", TaskFields("t-1234", None, "monitor", 1234))

    (line,) = written(capsys)
    assert (line["task_id"], line["attempt"]) == (f"t-{MASK}", 1234)


@pytest.mark.parametrize("value", ["caf\udce9", 2**70, float("nan"), {None: object()}, {1, 2}])
def test_whatever_is_logged_makes_one_line(
    lines: Lines, capsys: pytest.CaptureFixture[str], value: Any
) -> None:
    structlog.get_logger().info("odd", value=value)
    lines.task(logging.INFO, "task completed", TaskFields("caf\udce9", None, "monitor", 1))

    assert [line["event"] for line in written(capsys)] == ["odd", "task completed"]
