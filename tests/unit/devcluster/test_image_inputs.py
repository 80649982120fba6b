"""An image is built again when, and only when, what it is made of has changed."""

from pathlib import Path

import pytest

from devcluster.images import OPERATOR, WORKER, inputs_digest


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    (tmp_path / "queue" / "package" / "__pycache__").mkdir(parents=True)
    (tmp_path / "queue" / "package" / "code.py").write_text("one = 1\n")
    (tmp_path / "uv.lock").write_text("locked\n")
    path = tmp_path / "Dockerfile.worker"
    path.write_text(
        "FROM base AS builder\nCOPY uv.lock ./\nCOPY queue queue\n"
        "FROM base\nCOPY --from=builder /app /app\n"
    )
    return path


def test_a_changed_source_lock_or_dockerfile_is_another_image(dockerfile: Path) -> None:
    digests = [inputs_digest(dockerfile, "base-1")]
    for name in ("queue/package/code.py", "uv.lock", "Dockerfile.worker"):
        with (dockerfile.parent / name).open("a") as file:
            file.write("# changed\n")
        digests.append(inputs_digest(dockerfile, "base-1"))
    digests.append(inputs_digest(dockerfile, "base-2"))
    assert len(set(digests)) == 5


def test_what_is_not_copied_changes_nothing(dockerfile: Path) -> None:
    before = inputs_digest(dockerfile, "base")
    (dockerfile.parent / "README.md").write_text("news\n")
    (dockerfile.parent / "queue" / "package" / "__pycache__" / "code.pyc").write_bytes(b"\0")
    assert inputs_digest(dockerfile, "base") == before


def test_a_renamed_file_is_another_image(dockerfile: Path) -> None:
    before = inputs_digest(dockerfile, "base")
    code = dockerfile.parent / "queue" / "package" / "code.py"
    code.rename(code.with_name("other.py"))
    assert inputs_digest(dockerfile, "base") != before


@pytest.mark.parametrize("ours", [OPERATOR, WORKER], ids=lambda path: path.name)
def test_the_projects_dockerfiles_can_be_read(ours: Path) -> None:
    assert len(inputs_digest(ours, "base")) == 16
