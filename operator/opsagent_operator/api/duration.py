"""Durations as Kubernetes users write them: `30s`, `1m30s`, `168h`.

The grammar is Go's `time.ParseDuration` without signs and without units below the millisecond, and with at most three
digits after the point: everything it accepts is a whole number of microseconds, which `timedelta` holds exactly.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from opsagent_operator.api.schema import Rule

# Six digits keep the sum of all parts inside 64-bit nanoseconds, where Go (and so CEL) would overflow.
PATTERN: Final = r"^([0-9]{1,6}(\.[0-9]{1,3})?(h|m|s|ms))+$"
MAX_LENGTH: Final = 20

_PART: Final = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,3}))?(h|ms|m|s)")
_MICROSECONDS: Final = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}


def parse_duration(text: str) -> timedelta:
    """The length of time `text` stands for.

    Raises:
        ValueError: `text` is not a duration; the message shows what one looks like.
    """
    if len(text) > MAX_LENGTH or not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 30s, 1m30s or 168h")
    microseconds = 0
    for whole, fraction, unit in _PART.findall(text):
        thousandths = int(whole) * 1000 + int(fraction.ljust(3, "0"))
        microseconds += thousandths * _MICROSECONDS[unit] // 1000
    return timedelta(microseconds=microseconds)


def format_duration(duration: timedelta) -> str:
    """`duration` in its shortest form: `1m30s`, `10m`, `500ms`, `0s`.

    What `parse_duration` reads back, as long as it is under a century; no field allows more than a year.

    Raises:
        ValueError: `duration` is negative, which no field allows.
    """
    if duration < timedelta():
        raise ValueError(f"a duration is not negative: {duration}")
    remaining = duration // timedelta(microseconds=1)
    parts: list[str] = []
    for unit in ("h", "m", "s"):
        count, remaining = divmod(remaining, _MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if remaining:
        milliseconds, microseconds = divmod(remaining, _MICROSECONDS["ms"])
        fraction = f".{microseconds:03}".rstrip("0").rstrip(".")
        parts.append(f"{milliseconds}{fraction}ms")
    return "".join(parts) or "0s"


def _from_wire(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(_from_wire),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": MAX_LENGTH}),
]


def between(low: str, high: str) -> Rule:
    """A duration from `low` to `high`, both included.

    The schema's `format: duration` is no help: it also takes Scala's notation (`3 days`), which Go does not read.
    """
    return Rule(
        f"{is_duration('self')} && duration(self) >= duration('{low}')"
        f" && duration(self) <= duration('{high}')",
        f"must be a duration from {low} to {high}, written like 500ms, 30s, 1m30s or 2h",
    )


def not_longer(shorter: str, longer: str, message: str) -> Rule:
    """Of two durations of one object, `shorter` does not exceed `longer`.

    Says nothing while either is malformed: its own rule does.
    """
    return Rule(
        f"!{is_duration(f'self.{shorter}')} || !{is_duration(f'self.{longer}')}"
        f" || duration(self.{shorter}) <= duration(self.{longer})",
        message,
    )


def is_duration(expression: str) -> str:
    """CEL: whether `duration(expression)` can be evaluated."""
    return f"{expression}.matches(r'{PATTERN}')"
