"""Objects as users write them, as the API server stores them and as the operator reads them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from integration.api.objects import worker_with
from integration.api.server import Api
from opsagent_operator.api.crd import spec_schema
from opsagent_operator.api.v1alpha1 import OpsAgentWorkerSpec, OpsAgentWorkerStatus

pytestmark = pytest.mark.integration

VALID = Path(__file__).parent / "valid"


def read(name: str) -> Any:
    return yaml.safe_load((VALID / f"{name}.yaml").read_text())


def test_an_object_of_six_lines_gets_every_default(api: Api) -> None:
    stored = api.admitted(read("smallest"))

    assert stored["spec"] == read("smallest-with-defaults")


def test_the_operators_models_have_the_same_defaults_as_the_api_server(api: Api) -> None:
    stored = api.admitted(read("smallest"))

    assert (
        OpsAgentWorkerSpec.model_validate(stored["spec"]).model_dump()
        == OpsAgentWorkerSpec.model_validate(read("smallest")["spec"]).model_dump()
    )


def test_an_object_with_every_field_is_stored_as_it_was_written(api: Api) -> None:
    everything = read("everything")

    stored = api.admitted(everything)

    assert stored["spec"] == everything["spec"]


def test_the_operators_models_lose_nothing_of_an_object_with_every_field() -> None:
    spec = read("everything")["spec"]

    model = OpsAgentWorkerSpec.model_validate(spec)

    written = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    spec["worker"]["resources"]["limits"]["cpu"] = "1"  # a quantity is text in the model
    assert written == spec


def test_the_object_with_every_field_has_every_field() -> None:
    given = set(_paths("spec", read("everything")["spec"], spec_schema()))

    # A pin names one of two things, a queue is of one kind; the other ones have their own tests.
    assert set(_fields("spec", spec_schema())) - given == {
        "spec.pin.revision",
        "spec.queue.key",
        "spec.queue.group",
        "spec.queue.inFlightKey",
    }


def test_null_is_the_same_as_nothing(api: Api) -> None:
    worker = read("smallest")
    worker["spec"] |= {"replicas": None, "pin": None, "paused": None, "scaling": None}

    assert api.admitted(worker)["spec"] == read("smallest-with-defaults")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec.queue.redis.url", "redis://:secret@redis:6379"),
        ("spec.scaling.maxReplica", 3),
        ("spec.worker.securityContext", {"privileged": True}),
        ("spec.worker.volumes", []),
        ("spec.image.tag", "latest"),
    ],
)
def test_an_unknown_field_is_refused_by_name(api: Api, field: str, value: Any) -> None:
    with pytest.raises(ApiException) as refused:
        api.admitted(worker_with(field, value))

    assert refused.value.status == 400
    assert f'unknown field \\"{field}\\"' in str(refused.value.body)


def test_a_new_object_says_that_nobody_has_looked_at_it_yet(api: Api) -> None:
    stored = api.admitted(read("smallest"))

    assert stored["status"] == {"observedGeneration": -1}
    assert OpsAgentWorkerStatus.model_validate(stored["status"]) == OpsAgentWorkerStatus()


def test_a_status_written_at_creation_is_dropped(api: Api) -> None:
    worker = read("smallest") | {"status": {"observedGeneration": 7, "ready": "9/9"}}

    assert api.admitted(worker)["status"] == {"observedGeneration": -1}


def _fields(path: str, schema: Any) -> list[str]:
    """Every field of the schema, but not the parts that are handed on as they are."""
    found = []
    for name, node in schema.get("properties", {}).items():
        child = f"{path}.{name}"
        found += [child, *_fields(child, node), *_fields(f"{child}[]", node.get("items", {}))]
    return found


def _paths(path: str, value: Any, schema: Any) -> list[str]:
    """Every field of the schema that `value` has."""
    if isinstance(value, list):
        return [found for item in value for found in _paths(f"{path}[]", item, schema["items"])]
    found = []
    for name, node in schema.get("properties", {}).items():
        if name in value:
            found += [f"{path}.{name}", *_paths(f"{path}.{name}", value[name], node)]
    return found
