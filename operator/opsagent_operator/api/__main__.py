"""Writes what is generated from the API models: the CustomResourceDefinition and the API reference's tables.

`python -m opsagent_operator.api` writes the files, `--check` says whether they are up to date. Run it in the
repository's root folder.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opsagent_operator.api.crd import custom_resource_definition, to_yaml
from opsagent_operator.api.reference import with_reference

CRD_PATH: Final = Path("crds/opsagent.dev_opsagentworkers.yaml")
CHART_CRD_PATH: Final = (
    Path("helm/opsagent-operator/files") / CRD_PATH
)  # Helm reads its own folder only
REFERENCE_PATH: Final = Path("docs/api.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or with `--check` 1 when a file is not what the models say."""
    parser = argparse.ArgumentParser(prog="python -m opsagent_operator.api", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; show a diff and exit with 1 if stale"
    )
    check: bool = parser.parse_args(arguments).check

    if not REFERENCE_PATH.is_file():
        parser.error(f"{REFERENCE_PATH} is not here: run this in the repository's root folder")
    crd = to_yaml(custom_resource_definition())
    files = {
        CRD_PATH: crd,
        CHART_CRD_PATH: crd,
        REFERENCE_PATH: with_reference(REFERENCE_PATH.read_text()),
    }
    stale = [path for path, wanted in files.items() if _content(path) != wanted]
    for path in stale:
        if check:
            sys.stdout.writelines(_diff(path, files[path]))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
    if check and stale:
        sys.stderr.write("Out of date; run `make generate` and commit the result.\n")
        return 1
    return 0


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _diff(path: Path, wanted: str) -> list[str]:
    return list(
        difflib.unified_diff(
            _content(path).splitlines(keepends=True),
            wanted.splitlines(keepends=True),
            fromfile=f"{path} (committed)",
            tofile=f"{path} (generated)",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
