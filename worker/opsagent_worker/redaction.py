"""Keeps secrets out of everything that leaves the process: logs, task errors, events, error reports."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

MASK: Final = "[redacted]"

# A shorter value is no secret worth the name, and masking it would blank out ordinary words.
_SHORTEST_SECRET: Final = 4


class Redactor:
    """Replaces each known secret, plain or percent-encoded, wherever it occurs in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {
            spelling
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for spelling in (secret, quote(secret, safe=""))
        }
        # Longest first: a secret that contains another one is masked whole.
        self._secrets = sorted(spellings, key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def value(self, value: Any) -> Any:
        """`value` with every string inside it redacted; containers are copied, other types kept."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.value(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return value
