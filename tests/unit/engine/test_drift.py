"""Whether a live object is as its manifest wants it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_operator.act.drift import differences

LIVE: dict[str, Any] = {
    "metadata": {"name": "a", "uid": "1", "labels": {"ours": "1", "theirs": "2"}},
    "spec": {
        "replicas": 2,
        "strategy": {"type": "RollingUpdate"},
        "containers": [
            {"name": "injected", "image": "mesh"},
            {
                "name": "worker",
                "image": "app:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "command": ["run", "fast"],
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/a"},
                    {"name": "tmp", "mountPath": "/b"},
                ],
            },
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}


@pytest.mark.parametrize(
    "desired",
    [
        pytest.param({}, id="nothing is wanted"),
        pytest.param({"metadata": {"labels": {"ours": "1"}}}, id="others have labels of their own"),
        pytest.param({"spec": {"replicas": 2}}, id="the server has added defaults"),
        pytest.param(
            {"spec": {"containers": [{"name": "worker", "image": "app:1"}]}},
            id="someone has injected a container",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "worker", "env": [{"name": "B", "value": "2"}]}]}},
            id="variables are told apart by their names",
        ),
        pytest.param(
            {
                "spec": {
                    "containers": [
                        {
                            "name": "worker",
                            "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
                        }
                    ]
                }
            },
            id="quantities are equal by value",
        ),
        pytest.param(
            {"spec": {"paused": False, "minReadySeconds": 0, "tolerations": [], "selector": {}}},
            id="the server leaves out what is empty",
        ),
        pytest.param(
            {"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}}, id="an empty choice"
        ),
    ],
)
def test_a_manifest_holds(desired: dict[str, Any]) -> None:
    assert list(differences(LIVE, desired)) == []


@pytest.mark.parametrize(
    ("desired", "paths"),
    [
        ({"spec": {"replicas": 3}}, ["spec.replicas"]),
        ({"spec": {"replicas": 0}}, ["spec.replicas"]),
        ({"metadata": {"labels": {"ours": "2"}}}, ["metadata.labels.ours"]),
        ({"metadata": {"annotations": {"a": "b"}}}, ["metadata.annotations"]),
        (
            {"spec": {"containers": [{"name": "worker", "image": "app:2"}]}},
            ["spec.containers[worker].image"],
        ),
        ({"spec": {"containers": [{"name": "other"}]}}, ["spec.containers[other]"]),
        (
            {"spec": {"containers": [{"name": "worker", "command": ["run"]}]}},
            ["spec.containers[worker].command"],
        ),
        (
            {"spec": {"containers": [{"name": "worker", "command": ["run", "slow"]}]}},
            ["spec.containers[worker].command[1]"],
        ),
        (
            {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"cpu": "2"}}}]}},
            ["spec.containers[worker].resources.limits.cpu"],
        ),
        (
            {
                "spec": {
                    "containers": [
                        {
                            "name": "worker",
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/a"},
                                {"name": "tmp", "mountPath": "/c"},
                            ],
                        }
                    ]
                }
            },
            ["spec.containers[worker].volumeMounts[1].mountPath"],
        ),
    ],
)
def test_a_difference_is_named_by_its_path(desired: dict[str, Any], paths: list[str]) -> None:
    assert list(differences(LIVE, desired)) == paths


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_every_object_is_as_itself_wants(value: dict[str, Any]) -> None:
    assert list(differences(value, value)) == []
