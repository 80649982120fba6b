"""The cache never goes back in time, and knows whose each object is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsagent_operator.kube.client import DEPLOYMENTS, PODS, WORKERS
from opsagent_operator.observe.cluster import ClusterCache, Key

OWNER = Key("shop", "ops-agent")
CHILD = Key("shop", "ops-agent-1")


def deployment(version: int, *, owner: str = OWNER.name, **more: Any) -> dict[str, Any]:
    metadata = {
        "namespace": CHILD.namespace,
        "name": CHILD.name,
        "resourceVersion": str(version),
        "labels": {"opsagent.dev/worker": owner},
        "managedFields": [{"manager": "someone"}],
    }
    return {"metadata": metadata, **more}


def version_of(cache: ClusterCache) -> int | None:
    body = cache.get(DEPLOYMENTS, CHILD)
    return int(body["metadata"]["resourceVersion"]) if body else None


def test_a_change_is_news_for_the_owner_and_its_echo_is_not() -> None:
    cache = ClusterCache()
    assert list(cache.observe(DEPLOYMENTS, deployment(5), listed=True)) == [OWNER]
    assert list(cache.observe(DEPLOYMENTS, deployment(5), listed=False)) == []


def test_an_answer_to_our_own_write_is_read_before_the_watch_tells_of_it() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    cache.record_write(DEPLOYMENTS, deployment(9, spec={"replicas": 3}))
    assert list(cache.observe(DEPLOYMENTS, deployment(7), listed=False)) == []
    assert version_of(cache) == 9
    assert cache.owned_by(DEPLOYMENTS, OWNER)[0]["spec"] == {"replicas": 3}


def test_versions_are_compared_as_numbers() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(9), listed=True)
    cache.observe(DEPLOYMENTS, deployment(10), listed=False)
    assert version_of(cache) == 10


def test_a_deletion_removes_the_object_and_is_news_for_its_owner() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    assert list(cache.observe_deletion(DEPLOYMENTS, deployment(6))) == [OWNER]
    assert version_of(cache) is None
    assert cache.owned_by(DEPLOYMENTS, OWNER) == ()


def test_the_deletion_of_an_earlier_object_of_the_same_name_is_ignored() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(8), listed=False)
    assert list(cache.observe_deletion(DEPLOYMENTS, deployment(6))) == []
    assert version_of(cache) == 8


def test_a_late_answer_to_a_write_does_not_raise_the_dead() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    cache.observe_deletion(DEPLOYMENTS, deployment(9))
    cache.record_write(DEPLOYMENTS, deployment(7))
    assert version_of(cache) is None


def test_an_object_that_changes_hands_is_news_for_both_owners() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    changed = cache.observe(DEPLOYMENTS, deployment(6, owner="other"), listed=False)
    assert set(changed) == {OWNER, Key("shop", "other")}
    assert cache.owned_by(DEPLOYMENTS, OWNER) == ()
    assert len(cache.owned_by(DEPLOYMENTS, Key("shop", "other"))) == 1


def test_kinds_are_kept_apart_and_a_worker_is_its_own_owner() -> None:
    cache = ClusterCache()
    worker = {"metadata": {"namespace": "shop", "name": "ops-agent", "resourceVersion": "1"}}
    assert list(cache.observe(WORKERS, worker, listed=True)) == [OWNER]
    assert cache.worker(OWNER) == worker
    assert cache.owned_by(PODS, OWNER) == ()


def test_what_nobody_reads_is_not_kept() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    body = cache.get(DEPLOYMENTS, CHILD)
    assert body is not None
    assert "managedFields" not in body["metadata"]


def test_an_object_and_its_children_have_a_version_that_moves_with_each_change() -> None:
    cache = ClusterCache()
    versions = [cache.version(OWNER)]

    def changed() -> bool:
        versions.append(cache.version(OWNER))
        return versions[-1] not in versions[:-1]

    worker = {"metadata": {"namespace": "shop", "name": "ops-agent", "resourceVersion": "1"}}
    cache.observe(WORKERS, worker, listed=True)
    assert changed()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    assert changed()
    cache.observe(DEPLOYMENTS, deployment(5), listed=False)
    cache.observe(DEPLOYMENTS, deployment(6, owner="other"), listed=False)
    assert changed()
    cache.record_write(DEPLOYMENTS, deployment(7))
    assert changed()
    cache.observe_deletion(DEPLOYMENTS, deployment(8))
    assert changed()
    cache.observe(DEPLOYMENTS, deployment(9), listed=False)
    assert changed()
    cache.record_absence(DEPLOYMENTS, CHILD)
    assert changed()
    cache.record_absence(DEPLOYMENTS, CHILD)
    assert not changed()
    cache.record_absence(WORKERS, OWNER)
    assert cache.version(OWNER) == 0


def test_what_is_kept_is_neither_kubectls_copy_nor_what_a_pod_runs() -> None:
    cache = ClusterCache()
    copy = "kubectl.kubernetes.io/last-applied-configuration"
    pod = deployment(5, spec={"containers": []}, status={"phase": "Running"})
    pod["metadata"]["annotations"] = {copy: "{}", "team": "ops"}
    cache.observe(PODS, pod, listed=True)
    (kept,) = cache.owned_by(PODS, OWNER)
    assert kept["metadata"]["annotations"] == {"team": "ops"}
    assert kept["status"] == {"phase": "Running"}
    assert "spec" not in kept


@pytest.mark.parametrize("namespace", [None, "shop"])
def test_what_a_new_list_does_not_mention_is_suspect(namespace: str | None) -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    listing = cache.begin_listing(DEPLOYMENTS)
    assert cache.unmentioned(DEPLOYMENTS, namespace=namespace, listing=listing) == (CHILD,)
    assert cache.unmentioned(DEPLOYMENTS, namespace="other", listing=listing) == ()
    assert cache.unmentioned(PODS, namespace=namespace, listing=listing) == ()


def test_what_a_new_list_mentions_is_not_suspect() -> None:
    cache = ClusterCache()
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    listing = cache.begin_listing(DEPLOYMENTS)
    cache.observe(DEPLOYMENTS, deployment(5), listed=True)
    assert cache.unmentioned(DEPLOYMENTS, namespace=None, listing=listing) == ()


def test_what_comes_after_a_list_is_not_suspect() -> None:
    cache = ClusterCache()
    listing = cache.begin_listing(DEPLOYMENTS)
    cache.observe(DEPLOYMENTS, deployment(5), listed=False)
    assert cache.unmentioned(DEPLOYMENTS, namespace=None, listing=listing) == ()


MOVES = st.lists(
    st.tuples(st.sampled_from(["watch", "write", "delete"]), st.integers(1, 50)), max_size=30
)


@given(moves=MOVES)
def test_whatever_arrives_in_whatever_order_the_newest_known_state_stays(
    moves: list[tuple[str, int]],
) -> None:
    cache = ClusterCache()
    for move, version in moves:
        before = version_of(cache)
        match move:
            case "watch":
                cache.observe(DEPLOYMENTS, deployment(version), listed=False)
            case "write":
                cache.record_write(DEPLOYMENTS, deployment(version))
            case _:
                cache.observe_deletion(DEPLOYMENTS, deployment(version))
        after = version_of(cache)
        if before is not None and after is not None:
            assert after == max(before, after)
        if before is not None and after is None:
            assert version >= before
