"""Writes stored results into docs/benchmarks.md, so that no number there is typed by hand.

The document has places between `<!-- NAME -->` and `<!-- /NAME -->`; a place without results stays
as it is.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from benchmarks import tables
from benchmarks.failure import BenchmarkError
from benchmarks.results import (
    FLEET,
    KILLS,
    MEMORY,
    OUTAGES,
    QUEUE,
    QUIET,
    REPOSITORY,
    SCALE_IN,
    STARTS,
    TERMINATIONS,
    THROUGHPUT,
    WAKE,
    Stored,
    load,
)

T = TypeVar("T")

DOCUMENT: Final = REPOSITORY / "docs" / "benchmarks.md"
PLACES: Final = (
    *("throughput", "contenders", "quiet", "memory", "queue"),
    *("kills", "terminations", "outages"),
    *("wake", "fleet", "starts", "scale-in"),
)


def write(document: Path = DOCUMENT) -> list[str]:
    """Fill every place there are results for; returns the places' names."""
    texts = _texts()
    text = document.read_text()
    for name, content in texts.items():
        text = fill_in(text, name, content)
    document.write_text(text)
    return list(texts)


def fill_in(text: str, name: str, content: str) -> str:
    """`text` with what is between the place's marks replaced. Raises BenchmarkError without them."""
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not place.search(text):
        raise BenchmarkError(f"the document has no place <!-- {name} --> … <!-- /{name} -->")
    return place.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def _texts() -> dict[str, str]:
    throughput = load(THROUGHPUT)
    texts = {
        "throughput": _text(THROUGHPUT, tables.throughput),
        "contenders": tables.contenders(throughput).markdown() if throughput else None,
        "quiet": _text(QUIET, tables.quiet),
        "memory": _text(MEMORY, tables.memory),
        "queue": _text(QUEUE, tables.moves),
        "kills": _text(KILLS, tables.kills),
        "terminations": _text(TERMINATIONS, tables.terminations),
        "outages": _text(OUTAGES, lambda found: list(map(tables.outages, found))),
        "wake": _text(WAKE, tables.wake),
        "fleet": _text(FLEET, tables.fleet),
        "starts": _text(STARTS, tables.starts),
        "scale-in": _text(SCALE_IN, tables.scale_in),
    }
    return {name: text for name, text in texts.items() if text is not None}


def _text(
    part: tuple[str, type[Stored[T]]], tell: Callable[[T], tables.Grid | list[tables.Grid]]
) -> str | None:
    """Tables and what they were measured on; None if there are no results."""
    stored = load(part)
    if stored is None:
        return None
    told = tell(stored.found)
    grids = told if isinstance(told, list) else [told]
    return "\n\n".join([*(grid.markdown() for grid in grids), f"*{tables.machine(stored)}.*"])
