"""Names and places of clusters."""

from pathlib import Path

import pytest

from devcluster import instance
from devcluster.failure import ClusterError
from devcluster.instance import Instance


def test_two_clones_have_nothing_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Instance.of_checkout("node")
    monkeypatch.setattr(instance, "HACK", Path("/somewhere/else/hack"))
    theirs = Instance.of_checkout("node")

    assert ours.state != theirs.state
    assert ours.label != theirs.label
    assert ours.link != theirs.link
    assert ours.loopback != theirs.loopback


def test_modes_and_purposes_of_one_clone_are_apart() -> None:
    instances = {
        Instance.of_checkout(mode, purpose=purpose)
        for mode in ("light", "node")
        for purpose in ("dev", "t1x2")
    }
    assert len({one.state for one in instances}) == 4
    assert len({one.label for one in instances}) == 4


def test_a_link_name_is_short_enough_for_linux() -> None:
    assert len(Instance.of_checkout("node", purpose="t4194304x99999999999n1").link) < 16


def test_the_loopback_address_is_none_that_others_use() -> None:
    first, second, *_ = Instance.of_checkout("light").loopback.split(".")
    assert first == "127"
    assert 64 <= int(second) < 192


def test_a_state_folder_too_deep_for_sockets_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPSAGENT_STATE", "/deep" * 20)
    with pytest.raises(ClusterError, match="set OPSAGENT_STATE to a folder whose path is"):
        _ = Instance("12345678-dev-node").state
