"""How many workers a drain of nodes may take."""

from typing import Any

import pytest

from fixtures.world import V1, V2, World, make_queue
from opsagent_operator.api.step import parse_step
from opsagent_operator.manifests.disruption_budget import disruption_budget
from opsagent_operator.manifests.pod_template import pod_template
from opsagent_operator.model.plan import Plan


def budgets(plan: Plan) -> list[Any]:
    return [child for child in plan.apply if child["kind"] == "PodDisruptionBudget"]


def test_one_budget_of_the_objects_name_is_for_the_pods_of_all_its_versions() -> None:
    world = World(queue=make_queue(pending=4))
    plan = world.visit()
    (budget,) = budgets(plan)
    metadata = budget["metadata"]
    assert metadata["name"] == "ops-agent"
    (owner,) = metadata["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("7d2f", True)
    assert "opsagent.dev/revision" not in metadata["labels"]
    (selected,) = budget["spec"]["selector"]["matchLabels"].items()
    for version in (V1, V2):
        world.change(version=version)
        spec: Any = world.spec
        template = pod_template(
            namespace="default",
            name="ops-agent",
            revision="r",
            spec=spec,
            version=version,
            image="i",
        )
        assert selected in template["metadata"]["labels"].items()


@pytest.mark.parametrize(("said", "kept"), [(None, "25%"), ("50%", "50%"), (3, 3)])
def test_its_limit_is_the_specs_a_quarter_by_default(said: Any, kept: Any) -> None:
    world = World(queue=make_queue(pending=4))
    world.change(disruption={} if said is None else {"maxUnavailable": said})
    world.visit()
    assert world.budget is not None
    assert world.budget["maxUnavailable"] == kept


def test_a_pod_that_is_not_ready_never_holds_up_a_drain() -> None:
    worker = World().observe().worker
    spec = disruption_budget(worker, max_unavailable=parse_step(1))["spec"]
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_there_is_none_before_there_is_anything_to_guard() -> None:
    world = World(queue=make_queue(pending=4))
    world.change(paused=True)
    assert budgets(world.visit()) == []


def test_an_object_whose_pods_are_all_gone_keeps_its_budget() -> None:
    world = World(queue=make_queue(pending=4))
    world.settle()
    world.change(paused=True)
    assert len(budgets(world.visit())) == 1
