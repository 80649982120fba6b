"""Writes stored results into docs/benchmarks.md, so that no number there is typed by hand.

The document has places between `<!-- NAME -->` and `<!-- /NAME -->`; a place without results stays
as it is.
"""

import re
from pathlib import Path
from typing import Final

from benchmarks import tables
from benchmarks.failure import BenchmarkError
from benchmarks.results import (
    KILLS,
    MEMORY,
    OUTAGES,
    QUEUE,
    QUIET,
    REPOSITORY,
    TERMINATIONS,
    THROUGHPUT,
    load,
)

DOCUMENT: Final = REPOSITORY / "docs" / "benchmarks.md"
PLACES: Final = (
    *("throughput", "contenders", "quiet", "memory", "queue"),
    *("kills", "terminations", "outages"),
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
    texts = dict[str, str]()
    if throughput := load(THROUGHPUT):
        texts["throughput"] = _told(throughput, tables.throughput(throughput.found))
        texts["contenders"] = tables.contenders(throughput).markdown()
    if quiet := load(QUIET):
        texts["quiet"] = _told(quiet, tables.quiet(quiet.found))
    if memory := load(MEMORY):
        texts["memory"] = _told(memory, tables.memory(memory.found))
    if queue := load(QUEUE):
        texts["queue"] = _told(queue, tables.moves(queue.found))
    if kills := load(KILLS):
        texts["kills"] = _told(kills, tables.kills(kills.found))
    if terminations := load(TERMINATIONS):
        texts["terminations"] = _told(terminations, tables.terminations(terminations.found))
    if outages := load(OUTAGES):
        texts["outages"] = _told(outages, *map(tables.outages, outages.found))
    return texts


def _told(stored: tables.AnyStored, *grids: tables.Grid) -> str:
    return "\n\n".join([*(grid.markdown() for grid in grids), f"*{tables.machine(stored)}.*"])
