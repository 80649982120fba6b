"""Secrets do not leave the process."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from opsagent_worker import logs
from opsagent_worker.redaction import MASK, Redactor

SECRET = "pa/ss word"


@given(st.text(), st.text())
def test_a_secret_is_masked_wherever_it_stands(before: str, after: str) -> None:
    assert SECRET not in Redactor([SECRET]).text(before + SECRET + after)


def test_a_percent_encoded_secret_is_masked_too() -> None:
    assert Redactor([SECRET]).text("redis://:pa%2Fss%20word@queue") == f"redis://:{MASK}@queue"


def test_a_secret_inside_a_longer_one_leaves_nothing_of_the_longer_one() -> None:
    assert Redactor(["abcd", "abcdefgh"]).text("abcdefgh") == MASK


def test_values_are_redacted_at_any_depth_and_keep_their_shape() -> None:
    value = {"list": [{"deep": f"x{SECRET}"}, 1, None], SECRET: (True, 2.5)}

    assert Redactor([SECRET]).value(value) == {
        "list": [{"deep": f"x{MASK}"}, 1, None],
        MASK: [True, 2.5],
    }


@pytest.mark.parametrize("secret", ['quo"ted', "back\\slash", "new\nline", "ümlaut", "it's"])
def test_a_secret_is_masked_in_texts_that_quote_it(secret: str) -> None:
    redactor = Redactor([secret])

    for quoted in (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)):
        assert redactor.text(f"it said {quoted}")[9:-1] == MASK


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc123.def-456", f"Authorization: Bearer {MASK}"),
        ("bearer  abcdefgh1", f"bearer  {MASK}"),
        ("'Basic dXNlcjpwYXNzd29yZDE='", f"'Basic {MASK}'"),
        ("postgres://app:hunter2@db:5432/x", f"postgres://app:{MASK}@db:5432/x"),
        ("redis://:hunter2@queue", f"redis://:{MASK}@queue"),
    ],
)
def test_what_stands_where_secrets_stand_is_masked(text: str, masked: str) -> None:
    redactor = Redactor()

    assert redactor.text(text) == masked
    assert redactor.occurs_in(json.dumps(text))
    assert redactor.text(masked) == masked
    assert redactor.value({"nested": [text]}) == {"nested": [masked]}


@pytest.mark.parametrize(
    "text",
    [
        "basic authentication is required",
        "the bearer of this message",
        "https://example.com:8443/a@b",
        "https://example.com:8443?to=a@b",
        "https://user@example.com/path:with@signs",
        "see http://a.example, mail b@c.example",
    ],
)
def test_words_and_addresses_that_only_look_similar_stay(text: str) -> None:
    assert Redactor().text(text) == text
    assert not Redactor().occurs_in(json.dumps(text))


def test_keys_of_any_kind_stay_keys() -> None:
    value = {(1, "hunter2"): 1, None: 2, 3: 4, True: 5}

    assert Redactor(["hunter2"]).value(value) == {"(1, '[redacted]')": 1, None: 2, 3: 4, True: 5}


def test_empty_and_tiny_secrets_mask_nothing() -> None:
    assert Redactor(["", "a"]).text("a banana") == "a banana"


@given(st.text(min_size=4), st.text(), st.text())
def test_a_secret_is_found_in_json_however_it_was_escaped(
    secret: str, before: str, after: str
) -> None:
    redactor = Redactor([secret])
    value = {"deep": [before + secret + after]}

    for ascii_only in (True, False):
        assert redactor.occurs_in(json.dumps(value, ensure_ascii=ascii_only))


def test_json_without_a_secret_is_left_alone() -> None:
    assert not Redactor([SECRET]).occurs_in(json.dumps({"a": "pass word"}))


@pytest.fixture
def _logs_as_before() -> Iterator[None]:
    """Undoes a configuration of logs."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("_logs_as_before")
def test_log_lines_are_json_with_the_tasks_ids_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(level="INFO", redactor=Redactor([SECRET]))
    log = structlog.get_logger()
    with structlog.contextvars.bound_contextvars(task_id="t-1", trace_id="tr-1"):
        try:
            int(SECRET)
        except ValueError as error:
            log.exception("call failed", url=f"https://x/{SECRET}", cause=error)
        log.debug("not shown at this level")

    (line,) = capsys.readouterr().out.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"]) == ("call failed", "error")
    assert (entry["task_id"], entry["trace_id"]) == ("t-1", "tr-1")
    assert "ValueError" in entry["exception"]
    assert SECRET not in line


@pytest.mark.usefixtures("_logs_as_before")
def test_what_libraries_log_looks_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="INFO", redactor=Redactor([SECRET]))
    with structlog.contextvars.bound_contextvars(task_id="t-1"):
        logging.getLogger("some.library").warning("cannot reach %s", SECRET)
        logging.getLogger("httpx").info("GET https://hooks.example/whole-url")

    (line,) = capsys.readouterr().out.splitlines()
    entry = json.loads(line)
    assert entry["event"] == f"cannot reach {MASK}"
    assert (entry["logger"], entry["level"], entry["task_id"]) == ("some.library", "warning", "t-1")
