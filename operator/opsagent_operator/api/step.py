"""How far one step goes: a number of workers, or a share of those there are (`3`, `50%`)."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from opsagent_operator.api.schema import Rule

PATTERN: Final = r"^[1-9][0-9]{0,2}%$"
MAX_LENGTH: Final = 4
MAX_AMOUNT: Final = 1000


@dataclass(frozen=True, slots=True)
class StepSize:
    """A number of workers, or a percentage of those there are."""

    amount: int
    percent: bool = False

    def of(self, count: int) -> int:
        """How many workers that is when there are `count`: rounded up, and at least 1."""
        return max(1, -(-count * self.amount // 100)) if self.percent else self.amount

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(self.amount)


def parse_step(value: int | str) -> StepSize:
    """The step that `value` stands for, as it is written in an object.

    Raises:
        ValueError: `value` is neither a number of workers nor a percentage.
    """
    if isinstance(value, str) and re.fullmatch(PATTERN, value):
        return StepSize(int(value[:-1]), percent=True)
    if type(value) is int and 1 <= value <= MAX_AMOUNT:
        return StepSize(value)
    raise ValueError(
        f"{value!r} is neither a number from 1 to {MAX_AMOUNT} nor a percentage from 1% to 999%"
    )


def wire(step: StepSize) -> int | str:
    """`step` as it is written in an object."""
    return str(step) if step.percent else step.amount


def _from_wire(value: Any) -> Any:
    return value if isinstance(value, StepSize) else parse_step(value)


Step = Annotated[
    StepSize,
    BeforeValidator(_from_wire),
    PlainSerializer(wire, return_type=int | str),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": MAX_LENGTH}),
    Rule(
        f"type(self) == int ? self >= 1 && self <= {MAX_AMOUNT} : self.matches(r'{PATTERN}')",
        f"must be a number from 1 to {MAX_AMOUNT}, or a percentage from 1% to 999%, such as 50%",
    ),
]
