"""The difference between two statuses, as the API server is told it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_operator.act.status import merge_patch


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        pytest.param({}, {"ready": "1/1"}, {"ready": "1/1"}, id="a first status"),
        pytest.param({"ready": "1/1"}, {"ready": "1/1"}, {}, id="nothing new"),
        pytest.param({"ready": "1/1", "a": 1}, {"ready": "1/1"}, {"a": None}, id="a field goes"),
        pytest.param(
            {"queue": {"pending": 3, "dead": 1}},
            {"queue": {}},
            {"queue": {"pending": None, "dead": None}},
            id="all that was in a map goes, and the map stays",
        ),
        pytest.param({}, {"queue": {}}, {"queue": {}}, id="an empty map comes"),
        pytest.param({"list": [1, 2]}, {"list": [2]}, {"list": [2]}, id="lists are replaced"),
    ],
)
def test_a_patch_has_only_what_changed(
    before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert merge_patch(before, after) == patch


def applied(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = applied(result.get(key), value)
    return result


LEAF = st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
STATUS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAF, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | LEAF, max_size=3),
    max_leaves=10,
)


@given(before=STATUS, after=STATUS)
def test_a_patch_turns_any_status_into_any_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert applied(before, merge_patch(before, after)) == after
    assert merge_patch(after, after) == {}
