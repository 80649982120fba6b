"""Walls that no linter keeps."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("source_root", ["operator", "worker", "queue"])
def test_source_roots_are_not_packages(source_root: str) -> None:
    """`operator/__init__.py` would hide the standard library's `operator`, `queue/…` its `queue`."""
    assert (ROOT / source_root).is_dir()
    assert not (ROOT / source_root / "__init__.py").exists()
