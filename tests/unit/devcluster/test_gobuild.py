"""What is built from Go modules, and where it is kept."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster import gobuild
from devcluster.failure import ClusterError
from devcluster.gobuild import HACK, KUBE_APISERVER, LIGHT, NODE, ToolModule


@pytest.mark.parametrize("program", {*LIGHT, *NODE, gobuild.KIND}, ids=lambda each: each.name)
def test_every_program_is_pinned_with_its_checksums(program: gobuild.Program) -> None:
    version = program.module.version()
    assert version.startswith("v") or version == "local"
    assert program.module.entry(program.name).parent.name.startswith(f"{version}-")


def test_kubernetes_says_its_version() -> None:
    version = KUBE_APISERVER.module.version()
    flags = " ".join(KUBE_APISERVER.module.build_flags())
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in flags
    assert "-X k8s.io/component-base/version.gitMajor=1" in flags


def test_another_pin_checksum_or_flag_is_another_place_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(HACK / "kwok", tmp_path / "kwok")
    monkeypatch.setattr(gobuild, "HACK", tmp_path)
    module = ToolModule(folder="kwok", module="sigs.k8s.io/kwok")
    places = [module.entry("kwok"), replace(module, tags="other").entry("kwok")]
    with (tmp_path / "kwok" / "go.sum").open("a") as sums:
        sums.write("example.com/more v1.0.0 h1:AAAA\n")
    places.append(module.entry("kwok"))
    assert len(set(places)) == 3


def test_a_file_that_is_not_built_from_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(HACK / "kwok", tmp_path / "kwok")
    monkeypatch.setattr(gobuild, "HACK", tmp_path)
    module = ToolModule(folder="kwok", module="sigs.k8s.io/kwok")
    before = module.entry("kwok")
    (tmp_path / "kwok" / "stages.yaml").write_text("{}")
    assert module.entry("kwok") == before


def test_without_go_there_is_one_sentence_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ClusterError, match=r"install Go .* or start Docker and use PROVIDER=kind"):
        gobuild.go_command()
