"""Versions come and go while tasks flow."""

from collections.abc import Callable

import pytest

from demo.images import NEXT_VERSION, VERSION
from e2e.arena import NAME, Arena

pytestmark = pytest.mark.e2e


def revisions(arena: Arena) -> dict[str, str]:
    """The uid of each Deployment, by the version it runs."""
    return {
        deployment["spec"]["template"]["metadata"]["annotations"]["opsagent.dev/version"]: (
            deployment["metadata"]["uid"]
        )
        for deployment in arena.items("deployments")
    }


def test_a_version_and_the_way_back_lose_no_task_and_reuse_the_deployment(arena: Arena) -> None:
    def flowing(holds: Callable[[], bool]) -> Callable[[], bool]:
        """`holds`, asked while tasks keep arriving."""

        def ask() -> bool:
            arena.enqueue(arena.work(seconds=0.5))
            return holds()

        return ask

    def serves(version: str) -> Callable[[], bool]:
        def holds() -> bool:
            view = arena.view()
            others = {
                pod["metadata"]["annotations"]["opsagent.dev/version"]
                for pod in arena.items("pods")
            } - {version}
            return view.version == version and view.ready > 0 and not others

        return holds

    arena.create_resting_worker()
    (first,) = revisions(arena).values()
    arena.until(flowing(serves(VERSION)), "the first version to serve")

    arena.patch(version=NEXT_VERSION)
    arena.until(flowing(serves(NEXT_VERSION)), "the second version to serve alone")
    arena.patch(version=VERSION)
    arena.until(flowing(serves(VERSION)), "the first version to serve alone again")

    tally = arena.until_done()
    assert tally.completed == set(arena.tasks)
    # Whoever had begun a task has ended it: a change of version interrupts nothing.
    assert arena.journal("started").total() == len(arena.tasks)
    assert arena.counted("rescued") == 0
    assert revisions(arena)[VERSION] == first
    assert "RevisionReused" in arena.run("describe", "oaw", NAME)


def test_a_version_that_does_not_exist_leaves_the_old_one_serving_and_says_why(
    arena: Arena,
) -> None:
    arena.create_resting_worker()
    arena.patch(version="v9.9.9-stable-20990101")
    ready = arena.until_condition("Ready", "ImagePullFailed")
    assert ready["status"] == "False"
    assert "v9.9.9-stable-20990101" in ready["message"]
    assert f"{VERSION} keeps serving" in ready["message"]
    assert arena.condition("Stalled")["status"] == "True"

    arena.enqueue(*(arena.work(seconds=0.2) for _ in range(4)))
    assert arena.until_done().completed == set(arena.tasks)
    assert arena.view().version == VERSION

    arena.patch(version=VERSION)
    arena.until_at_rest()
    assert arena.condition("Stalled")["status"] == "False"
