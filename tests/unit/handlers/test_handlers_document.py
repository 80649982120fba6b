"""docs/handlers.md shows the example as it is, and leaves out nothing that a handler can use."""

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import opsagent_worker
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec
from opsagent_worker import TaskContext
from opsagent_worker.handlers.discovery import GROUP
from opsagent_worker.testing import TaskRun, run_task

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "own-handler"
DOCUMENT = (ROOT / "docs" / "handlers.md").read_text()

# How the worker fills the context in; a handler has the properties made of them.
INSIDE = {"report_progress", "is_cancelled", "is_task_cancelled"}


@pytest.mark.parametrize("name", ["checksum.py", "Dockerfile", "worker.yaml"])
def test_the_document_shows_the_files_of_the_example(name: str) -> None:
    assert (EXAMPLE / name).read_text() in DOCUMENT


def test_the_document_shows_a_test_that_is_run() -> None:
    shown = DOCUMENT.partition("@respx.mock\n")[2].partition("```")[0]
    assert shown in (EXAMPLE / "test_checksum.py").read_text()


def test_the_examples_tests_need_none_of_the_projects_own_plugins() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:timeout"]
    done = subprocess.run(  # noqa: S603 - our own tests
        command, cwd=EXAMPLE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr


def test_the_examples_object_is_valid() -> None:
    worker = yaml.safe_load((EXAMPLE / "worker.yaml").read_text())
    assert worker["kind"] == "OpsAgentWorker"
    OpsAgentWorkerSpec.model_validate(worker["spec"])


def test_everything_public_is_documented() -> None:
    public = [
        *(name for name in dir(TaskContext) if not name.startswith("_") and name not in INSIDE),
        *(field.name for field in dataclasses.fields(TaskRun)),
        *inspect.signature(run_task).parameters,
        *(name for name in dir(opsagent_worker) if name != "HandlerDefinitionError"),
        GROUP,
    ]
    assert [name for name in public if not re.search(rf"\b{re.escape(name)}\b", DOCUMENT)] == []
