"""`kubectl apply` of objects that cannot work: each file in `wrong/` says in its first line what the user is told."""

from pathlib import Path

import pytest

from devcluster.failure import ClusterError
from integration.api.server import Api

pytestmark = pytest.mark.integration

WRONG = sorted((Path(__file__).parent / "wrong").glob("*.yaml"))


def test_there_are_ten_wrong_objects_at_least() -> None:
    assert len(WRONG) >= 10


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_a_wrong_object_is_refused_with_a_sentence_that_helps(api: Api, file: Path) -> None:
    first_line = file.read_text().partition("\n")[0]
    expected = first_line.removeprefix("# expect: ")
    assert expected != first_line

    with pytest.raises(ClusterError) as refused:
        api.run("apply", "-f", str(file))

    assert expected in str(refused.value)
