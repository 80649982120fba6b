"""What an API model says to the API server beside its Python types.

The models are read twice: by pydantic, when the operator reads an object, and by `crd.py`, when it writes the
CustomResourceDefinition. Types, bounds and defaults serve both. The markers below serve the second only: they put
`x-kubernetes-*` keywords into the JSON schema of the field or model that carries them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema


class ApiModel(BaseModel):
    """A part of the API: camelCase on the wire, snake_case in Python, immutable.

    Unknown fields are ignored. The API server prunes what its CustomResourceDefinition does not know, so the only way
    one gets here is a newer definition beside an older operator (an upgrade half done, a rollback of the operator):
    that operator keeps running what it understands. A user's typing error is caught before, by the API server's
    strict field validation, which is what `kubectl apply` asks for.

    The docstring below each attribute is its description in `kubectl explain`.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class Rule:
    """A CEL validation rule; the API server shows `message` when `cel` is false.

    `self` in the expression is the value of the annotated field, or the object of the annotated model.
    """

    cel: str
    message: str

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = dict(handler(core_schema))
        validation = {"rule": self.cel, "message": self.message}
        schema["x-kubernetes-validations"] = [
            *schema.get("x-kubernetes-validations", []),
            validation,
        ]
        return schema


def rules(*model_rules: Rule) -> ConfigDict:
    """The `model_config` of a model whose fields must fit each other."""
    return ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": rule.cel, "message": rule.message} for rule in model_rules
            ]
        }
    )


@dataclass(frozen=True, eq=False)
class Keywords:
    """Schema keywords that pydantic has no word for, such as `x-kubernetes-list-type`."""

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core_schema), **self.keywords}


def list_type(kind: Literal["set", "atomic"]) -> Keywords:
    """How server-side apply merges a list: item by item (a set has no duplicates), or as a whole."""
    return Keywords({"x-kubernetes-list-type": kind})


def map_list(*keys: str) -> Keywords:
    """A list whose items are merged, and must be unique, by the values of `keys`."""
    return Keywords({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})
