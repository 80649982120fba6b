"""Durations in environment variables: Go's notation (`30s`, `1m30s`, `500ms`) or plain seconds (`5`).

Written here because `durationpy`, the one library for the notation, skips over text between two parts: `5m or 3s` would
be read as 5m3s.
"""

import re
from datetime import timedelta
from typing import Any, Final

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_PART: Final = re.compile(rf"({_NUMBER})(h|ms|m|s)")
_WHOLE: Final = re.compile(rf"(?:{_NUMBER}(?:h|ms|m|s))+")


def parse_duration(value: Any) -> timedelta:
    """The length of time that `value` stands for; a `timedelta` is returned as it is.

    Raises:
        ValueError: `value` is no duration; the message shows what one looks like.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value)
    if re.fullmatch(_NUMBER, text):
        return timedelta(seconds=float(text))
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 30s, 1m30s or 5 (seconds)")
    return timedelta(
        seconds=sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    )
