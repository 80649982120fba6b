"""Debian packages are installed only when their programs are missing."""

import os
import shutil

import pytest

from devcluster import debian
from devcluster.failure import ClusterError


def test_programs_that_are_there_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(debian.PACKAGE_OF, "sh", "dash")
    monkeypatch.setattr(debian, "_install", lambda packages: pytest.fail(f"installs {packages}"))
    assert debian.ensure(["sh"])["sh"].name == "sh"


def test_who_is_not_root_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(debian.PACKAGE_OF, "not-there", "some-package")
    monkeypatch.setattr(shutil, "which", lambda name, **_: "/usr/bin/apt-get" * (name == "apt-get"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="run `sudo apt-get install some-package` once"):
        debian.ensure(["not-there"])


def test_another_system_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(debian.PACKAGE_OF, "not-there", "some-package")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(ClusterError, match="Install what Debian calls `some-package`"):
        debian.ensure(["not-there"])
