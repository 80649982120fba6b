"""When workers that cannot start are a reason not to ask for more of them."""

from typing import Any

import pytest

from fixtures.world import START
from opsagent_operator.decide.problem import cannot_start
from opsagent_operator.model.observed import PodState, Revision

REVISION = Revision(
    name="ops-agent-1", number=1, version="v1.0.0", image="worker:v1", template={}, created_at=START
)


def workers(*, well: int, failing: int, leaving: int = 0) -> list[PodState]:
    broken: dict[str, Any] = {"ready": False, "waiting_reason": "CrashLoopBackOff"}
    kinds: list[tuple[dict[str, Any], int]] = [
        ({"ready": True}, well),
        (broken, failing),
        ({**broken, "deleting": True}, leaving),
    ]
    fields = [kind for kind, number in kinds for _ in range(number)]
    return [
        PodState(name=f"pod-{index}", revision=REVISION.name, created_at=START, **kind)
        for index, kind in enumerate(fields)
    ]


@pytest.mark.parametrize(
    ("sentence", "pods", "told"),
    [
        ("all are well", workers(well=3, failing=0), None),
        ("there is none yet", [], None),
        ("one of many has got a bad node", workers(well=9, failing=1), None),
        ("half of them fail", workers(well=2, failing=2), "2 of 4 workers cannot start"),
        ("the only one fails", workers(well=0, failing=1), "1 of 1 worker cannot start"),
        ("those on their way out do not count", workers(well=1, failing=0, leaving=5), None),
    ],
)
def test_more_are_asked_for_unless_half_of_them_cannot_start(
    sentence: str, pods: list[PodState], told: str | None
) -> None:
    assert cannot_start(REVISION, pods) == told, sentence
