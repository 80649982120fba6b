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
        """`value` with every text inside it redacted; containers are copied.

        What JSON has no word for (an exception, say) becomes its redacted text, as that is how it would be written.
        """
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {self.value(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return self.text(str(value))
