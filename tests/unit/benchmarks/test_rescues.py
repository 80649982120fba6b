"""How long tasks of killed workers waited for their rescue."""

from pathlib import Path

import pytest

from benchmarks.crashes import Kill, rescue_seconds
from benchmarks.journal import BEGUN, Journal


def journal(folder: Path, *beginnings: tuple[str, float]) -> Journal:
    file = folder / "journal"
    file.write_text("".join(f"{BEGUN} {task} 1 0.1 1 {at}\n" for task, at in beginnings))
    found = Journal(file)
    found.read()
    return found


def kill(at: float, *running: str, held: tuple[str, ...] = ()) -> Kill:
    return Kill(at=at, running=frozenset(running), held=frozenset({*running, *held}))


@pytest.mark.parametrize(
    ("crashes", "expected"),
    [
        pytest.param([kill(10.0, "a")], [2.0], id="from the kill to the next beginning"),
        pytest.param(
            [kill(10.0, "a"), kill(11.5, held=("a",))],
            [0.5],
            id="from the later kill if that hit the next holder before it began",
        ),
        pytest.param(
            [kill(10.0, "a"), kill(11.5, held=("b",))],
            [2.0],
            id="a kill in between that hit others changes nothing",
        ),
        pytest.param(
            [kill(10.0, "a"), kill(12.5, "a")],
            [2.0, 7.5],
            id="two interrupted handlers of a task are two rescues",
        ),
        pytest.param(
            [Kill(at=10.0, running=frozenset("a"), held=frozenset())],
            [2.0],
            id="a handler whose lease was gone before the kill counts, too",
        ),
        pytest.param([kill(21.0, "a")], [], id="a task that nobody began anew is none"),
    ],
)
def test_a_rescue_takes_the_time_since_the_last_kill_of_a_holder(
    tmp_path: Path, crashes: list[Kill], expected: list[float]
) -> None:
    written = journal(tmp_path, ("a", 9.9), ("a", 12.0), ("a", 20.0))
    assert rescue_seconds(crashes, written) == expected
