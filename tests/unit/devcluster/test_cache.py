"""The cache that clones share."""

import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.cache import cache_root, locked, obtain
from devcluster.gobuild import HACK


def python(program: str, *arguments: Path) -> "subprocess.Popen[str]":
    """A process that runs `program`, with devcluster at hand."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONPATH": str(HACK)},
    )


def test_an_entry_is_built_once_however_many_processes_ask(tmp_path: Path) -> None:
    ask = """
import sys
from pathlib import Path
from devcluster.cache import obtain

def build(draft):
    print("built", flush=True)
    sys.stdin.read()
    draft.write_text("complete")

print(obtain(Path(sys.argv[1]), build).read_text())
"""
    entry = tmp_path / "v1" / "program"
    askers = [python(ask, entry) for _ in range(3)]
    for asker in askers:
        assert asker.stdin is not None
        asker.stdin.close()  # whoever builds may end now
    said = "".join(asker.stdout.read() for asker in askers if asker.stdout)
    for asker in askers:
        with asker:
            asker.wait(timeout=60)

    assert [asker.returncode for asker in askers] == [0, 0, 0], said
    assert said.count("built") == 1
    assert said.count("complete") == 3


def test_a_build_that_failed_leaves_no_entry_and_is_tried_again(tmp_path: Path) -> None:
    def fail(draft: Path) -> None:
        draft.write_text("half of it")
        raise RuntimeError("killed")

    entry = tmp_path / "program"
    with pytest.raises(RuntimeError):
        obtain(entry, fail)
    assert not entry.exists()

    obtain(entry, Path.touch)
    assert entry.read_text() == ""


def test_a_folder_that_a_killed_build_began_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / ".images.draft").mkdir()
    (tmp_path / ".images.draft" / "half").touch()

    obtain(tmp_path / "images", Path.mkdir)

    assert list((tmp_path / "images").iterdir()) == []


def test_a_lock_leaves_no_file(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", waiting="waiting"):
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_a_lock_gets_it_after_its_holder_removed_the_file(tmp_path: Path) -> None:
    with holding(tmp_path / "lock") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with holding(tmp_path / "lock") as waiter:
            assert waiter.stdout is not None
            assert "somebody else holds it" in waiter.stdout.readline()
            holder.communicate()
            assert waiter.stdout.readline() == "held\n"
            waiter.communicate()

    assert (holder.returncode, waiter.returncode) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def holding(lock: Path) -> "subprocess.Popen[str]":
    """A process that holds `lock`, and says so, until its input ends."""
    hold = """
import sys
from pathlib import Path
from devcluster.cache import locked

with locked(Path(sys.argv[1]), waiting="somebody else holds it"):
    print("held", flush=True)
    sys.stdin.read()
"""
    return python(hold, lock)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPSAGENT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/opsagent")
    monkeypatch.setenv("OPSAGENT_CACHE", "/chosen")
    assert cache_root() == Path("/chosen")
