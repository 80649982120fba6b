"""Editing JSON text inside Redis: exactly the named values change, every other byte stays."""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from opsagent_queue import Task

pytestmark = pytest.mark.integration

LIBRARY = (resources.files("opsagent_queue") / "scripts/lib/json.lua").read_text(encoding="utf-8")
SET = LIBRARY + (
    "\nlocal changes = {}"
    "\nfor i = 2, #ARGV, 2 do changes[#changes + 1] = {ARGV[i], ARGV[i + 1]} end"
    "\nreturn json_set(ARGV[1], changes)"
)
GET = LIBRARY + "\nreturn json_get(ARGV[1], ARGV[2])"
NOW = "2026-11-24T12:00:00.000001+00:00"
START = "".join(
    (resources.files("opsagent_queue") / f"scripts/lib/{name}.lua").read_text(encoding="utf-8")
    for name in ("json", "records", "starting")
)
QUICK = "local RECORD_PREFIX = ''\n" + START + "\nreturn (quick_start(ARGV[1], ARGV[2])) or ''"
STRING = LIBRARY + "\nreturn json_string(ARGV[1])"

tricky = st.text(st.sampled_from('abcé"\\/{}[]:, \n\t\x00€'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | tricky,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tricky, inner, max_size=3),
    max_leaves=12,
)
owned = st.sampled_from(["status", "error", "metadata", "started_at", "retry_count"])
documents = st.dictionaries(owned | tricky, values, max_size=8)
layouts = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"indent": 2},
        {"ensure_ascii": False},
        {"separators": (" , ", " : ")},
    ]
)

# One server for all examples is the point here: the scripts under test keep no state.
on_one_server = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)


@pytest.fixture
def lua(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()


def same(one: object, other: object) -> bool:
    """Equality of what JSON can say, NaN included, order of fields included."""
    return json.dumps(one) == json.dumps(other)


@on_one_server
@given(document=documents, changes=st.dictionaries(owned, values, max_size=4), layout=layouts)
@example(document={}, changes={"status": "x"}, layout={"indent": 2})
@example(document={"a": 12345678901234567890.5, "b": [], "c": {}}, changes={"d": 1}, layout={})
def test_setting_values_is_what_python_would_do_to_the_document(
    lua: redis.Redis, document: dict[str, Any], changes: dict[str, Any], layout: dict[str, Any]
) -> None:
    arguments = [part for name, value in changes.items() for part in (name, json.dumps(value))]
    edited = str(lua.eval(SET, 0, json.dumps(document, **layout), *arguments))
    assert same(json.loads(edited), {**document, **changes})


@on_one_server
@given(document=documents, layout=layouts)
def test_a_value_set_to_itself_changes_no_byte(
    lua: redis.Redis, document: dict[str, Any], layout: dict[str, Any]
) -> None:
    text = json.dumps(document, **layout)
    for name in document.keys() & {"status", "error", "metadata", "started_at", "retry_count"}:
        raw = lua.eval(GET, 0, text, name)
        assert same(json.loads(str(raw)), document[name])
        assert lua.eval(SET, 0, text, name, str(raw)) == text


@on_one_server
@given(text=st.text(max_size=20))
def test_a_string_is_encoded_as_json_reads_it(lua: redis.Redis, text: str) -> None:
    assert json.loads(str(lua.eval(STRING, 0, text))) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"status":"a"}', '{"status":"b"}'),
        (
            '{ "x" : [ ] , "status" : null , "n" : 1e400 }',
            '{ "x" : [ ] , "status" : "b" , "n" : 1e400 }',
        ),
        ('{"x": {"status": "a"}}', '{"x": {"status": "a"}, "status": "b"}'),
        ('{"st\\u0061tus": "a"}', '{"st\\u0061tus": "b"}'),
        ('{"status": 1, "status": 2}', '{"status": 1, "status": "b"}'),
        ("{}", '{"status": "b"}'),
        ('{"x": "\\\\\\"}"}', '{"x": "\\\\\\"}", "status": "b"}'),
        ('{"status": -1.5E+3, "y": true}', '{"status": "b", "y": true}'),
    ],
)
def test_one_value_changes_and_nothing_else(lua: redis.Redis, before: str, after: str) -> None:
    assert lua.eval(SET, 0, before, "status", '"b"') == after


# Fields in any order, nested ones of the same name, and text that looks like the fields.
fields = st.sampled_from(["status", "started_at", "task_id", "payload", "note"])
lookalikes = st.sampled_from(
    [
        "pending",
        None,
        "in_progress",
        NOW,
        '"status": "pending"',
        '"started_at": null',
        "é",
        "p\\u0065",
    ]
)
records = st.dictionaries(
    fields, lookalikes | st.dictionaries(fields, lookalikes, max_size=3) | values, max_size=5
)
sloppy = st.sampled_from(["", "status", "started_at", "space", "escape", "twice"])


@on_one_server
@given(record=records, sloppy=sloppy)
@example(record={"payload": {"status": "pending"}, "status": "in_progress"}, sloppy="")
@example(record={"status": "pending", "started_at": None}, sloppy="")
@example(record={"status": "pending", "started_at": None}, sloppy="escape")
@example(
    record={"payload": {"started_at": None}, "started_at": NOW, "status": "pending"}, sloppy=""
)
def test_the_short_cut_at_the_start_gives_what_the_careful_way_gives(
    lua: redis.Redis, record: dict[str, Any], sloppy: str
) -> None:
    text = json.dumps({"status": "pending", "started_at": None, **record})
    match sloppy:
        case "status" | "started_at":
            text = text.replace(f'"{sloppy}": ', f'"{sloppy}":', 1)
        case "space":
            text = text.replace(": ", ":")
        case "escape":
            text = text.replace('"status"', '"st\\u0061tus"', 1).replace(
                "pending", "pend\\u0069ng", 1
            )
        case "twice":
            text = text.replace("{", '{"status": "failed", ', 1)
    quick = str(lua.eval(QUICK, 0, text, NOW))
    careful = lua.eval(SET, 0, text, "started_at", f'"{NOW}"', "status", '"in_progress"')
    assert quick in {"", careful}


def test_the_short_cut_at_the_start_is_taken_for_an_ordinary_task(lua: redis.Redis) -> None:
    text = Task.new(type="deploy", payload={"note": "caf\u00e9", "list": []}).encode()
    quick = json.loads(str(lua.eval(QUICK, 0, text, NOW)))
    assert quick == {**json.loads(text), "status": "in_progress", "started_at": NOW}


@pytest.mark.parametrize(
    "text",
    [
        '{"payload": {"status": "pending"}, "status": "in_progr\\u0065ss", "started_at": null}',
        '{"payload": {"started_at": null}, "status": "pending", "started_at": "' + NOW + '"}',
        '{"payload": {"status": "pending"}, "status": "in_progress", "started_at": null}',
        '{"payload": {"started_at": null}, "status": "pending"}',
        '{"status": "pending", "started_at": null',
    ],
)
def test_the_short_cut_at_the_start_is_closed_where_it_would_mistake_a_field(
    lua: redis.Redis, text: str
) -> None:
    assert lua.eval(QUICK, 0, text, NOW) == ""
