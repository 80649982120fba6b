"""Processes are known by number and start time."""

import sys
from pathlib import Path

from devcluster.processes import Process, children, end, of_folder, spawn

SLEEP = (sys.executable, "-c", "import signal; signal.pause()")


def test_a_process_is_ended_and_no_zombie_stays(tmp_path: Path) -> None:
    process = spawn(SLEEP, log=tmp_path / "log")
    assert process.alive()
    assert process in children(Process.this())

    end([process], grace=0)

    assert not process.alive()
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_process_that_took_over_the_number_is_left_alone(tmp_path: Path) -> None:
    process = spawn(SLEEP, log=tmp_path / "log")
    earlier = Process(pid=process.pid, started=process.started - 1)
    assert not earlier.alive()

    end([earlier], grace=0)

    assert process.alive()
    end([process], grace=0)


def test_one_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    deaf = (
        "import signal as s; s.signal(s.SIGTERM, s.SIG_IGN); print('deaf', flush=True); s.pause()"
    )
    process = spawn([sys.executable, "-c", deaf], log=tmp_path / "log")
    while "deaf" not in (tmp_path / "log").read_text():
        assert process.alive()

    end([process], grace=0.05)

    assert not process.alive()


def test_a_process_is_found_by_the_folder_it_works_in(tmp_path: Path) -> None:
    process = spawn([*SLEEP, f"--data={tmp_path}/data"], log=tmp_path / "log")
    assert of_folder(tmp_path) == [process]
    assert of_folder(tmp_path.parent / "other") == []
    end([process], grace=0)


def test_what_a_process_says_is_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["sh", "-c", "echo said; echo complained >&2; exec sleep 60"], log=log)
    while "complained" not in log.read_text():
        assert process.alive()
    assert log.read_text() == "said\ncomplained\n"
    end([process], grace=0)
