import os
from pathlib import Path

from benchmarks.journal import Journal, Writer


def test_what_was_begun_and_not_ended_is_running(tmp_path: Path) -> None:
    writer, journal = Writer(tmp_path / "journal"), Journal(tmp_path / "journal")
    writer.begun("one", attempt=1, seconds=0.5)
    writer.begun("two", attempt=2, seconds=0.25)
    writer.ended("one", attempt=1)
    journal.read()

    (running,) = journal.running[os.getpid()].values()
    assert (running.task_id, running.attempt, running.seconds) == ("two", 2, 0.25)
    assert journal.ends == {"one": 1}


def test_a_line_that_is_not_written_to_its_end_is_read_later(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = Journal(file)
    file.write_text("begun one 1 0.5 42 100.0\nbegun tw")
    assert [one.task_id for one in journal.read()] == ["one"]

    with file.open("a") as opened:
        opened.write("o 1 0.5 42 101.0\n")
    assert [one.task_id for one in journal.read()] == ["two"]


def test_the_next_beginning_is_the_first_after_the_moment(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_text("".join(f"begun one 1 0.5 42 {at}\n" for at in (100.0, 102.5, 104.0)))
    journal = Journal(file)
    journal.read()

    again = journal.next_beginning("one", after=100.0)
    assert again is not None
    assert again.at == 102.5
    assert journal.next_beginning("one", after=104.0) is None


def test_nothing_is_read_before_anything_is_written(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal").read() == []
