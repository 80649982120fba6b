import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.contenders import HACK
from benchmarks.failure import BenchmarkError
from benchmarks.memory import Memory, Sample
from benchmarks.peers.tally import Reading, Tally
from benchmarks.report import DOCUMENT, PLACES, fill_in
from benchmarks.samples import median, quantile


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)]
)
def test_a_quantile_is_a_sample_that_was_measured(share: float, expected: float) -> None:
    assert quantile([float(number) for number in range(100, 0, -1)], share) == expected


def test_the_median_of_three_is_the_middle_one() -> None:
    assert median([9.0, 1.0, 4.0]) == 4.0


def test_nothing_is_told_of_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


def test_tasks_of_several_processes_are_counted_together(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from benchmarks.peers.tally import Tally\n"
        "tally = Tally(pathlib.Path(sys.argv[1]))\n"
        "for _ in range(int(sys.argv[2])): tally.ran()"
    )
    before = time.monotonic()
    for times in ("3", "4"):
        subprocess.run(  # noqa: S603 - a program made here
            [sys.executable, "-c", program, str(tmp_path), times],
            env={**os.environ, "PYTHONPATH": str(HACK)},
            check=True,
        )

    reading = Reading(tmp_path)
    assert reading.count == 7
    assert before < reading.first <= reading.latest < time.monotonic()


def test_only_tasks_that_tell_when_they_were_sent_have_a_latency(tmp_path: Path) -> None:
    tally = Tally(tmp_path)
    tally.ran()
    tally.ran(sent=time.monotonic() - 5.0)

    (latency,) = Reading(tmp_path).latencies()
    assert 5.0 <= latency < 6.0


def test_memory_growth_leaves_the_warm_up_out() -> None:
    samples = [
        Sample(done=done, worker_mib=mib, redis_mib=1.0)
        for done, mib in ((10, 30.0), (20, 50.0), (60, 51.0), (100, 50.5))
    ]
    assert Memory(tasks=100, seconds=1.0, samples=samples).growth_mib == 0.5


def test_a_place_in_the_document_is_filled_and_the_rest_stays() -> None:
    text = "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n"
    filled = fill_in(text, "a", r"new \1")
    assert filled == text.replace("old", r"new \1")
    assert fill_in(filled, "a", r"new \1") == filled


def test_a_document_without_the_place_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="no place"):
        fill_in("text", "a", "new")


@pytest.mark.parametrize("name", PLACES)
def test_the_document_has_every_place(name: str) -> None:
    text = DOCUMENT.read_text()
    assert fill_in(text, name, "new") != text
