"""Keeps secrets out of everything that leaves the process: logs, task errors, results, events, error reports."""

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec

MASK: Final = "[redacted]"

# A shorter value is no secret worth the name, and masking it would blank out ordinary words.
_SHORTEST_SECRET: Final = 4

# Secrets that nobody told us about, by where they stand: in an Authorization header, in a URL in front of its host. A token
# has a digit, which tells it from the words of "basic authentication is required".
_AUTHORIZATION: Final = re.compile(
    r"\b(bearer|basic)(\s+)(?=[^\s\d]*\d)[\w.~+/=-]{8,}", re.IGNORECASE | re.ASCII
)
_URL_PASSWORD: Final = re.compile(r"""(://[^\s/:@"'\\]*:)[^\s/?#@"'\\]+(?=@)""")
_SIGNS_OF_EITHER: Final = ("://", "earer", "asic")


class Redactor:
    """Replaces each known secret, plain or percent-encoded or escaped as in JSON or Python, wherever it occurs in a text.

    What stands where secrets stand (`Bearer …`, `Basic …`, the password of a URL) goes, too.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {
            spelling
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for spelling in (
                secret,
                quote(secret, safe=""),
                repr(secret)[1:-1],
                *_json_forms(secret),
            )
        }
        # Longest first: a secret that contains another one is masked whole.
        self._secrets = sorted(spellings, key=len, reverse=True)
        self._in_json = sorted({form for secret in spellings for form in _json_forms(secret)})

    def text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        if any(sign in text for sign in _SIGNS_OF_EITHER):
            text = _AUTHORIZATION.sub(rf"\1\2{MASK}", text)
            text = _URL_PASSWORD.sub(rf"\1{MASK}", text)
        return text

    def value(self, value: Any) -> Any:
        """`value` with every text inside it redacted; containers are copied.

        What JSON has no word for (an exception, say) becomes its redacted text, as that is how it would be written.
        """
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {self._key(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return self.text(str(value))

    def _key(self, key: Any) -> Any:
        # JSON knows no others; a list, which a tuple becomes, would be no key at all.
        return key if key is None or isinstance(key, int | float) else self.text(str(key))

    def occurs_in(self, encoded: str) -> bool:
        """Whether JSON text may contain a secret, in whichever way it was escaped.

        This is the quick look at what nearly always contains none: searching the text once for each spelling takes a
        tenth of walking through the values. What it finds must be redacted by `value`, before it is encoded: a
        replacement inside JSON text would break it, were a secret `true` or `1234`.
        """
        for form in (
            self._in_json
        ):  # not any(): with a generator it takes twice as long, and this is the hot path
            if form in encoded:
                return True
        for sign in _SIGNS_OF_EITHER:
            if sign in encoded:
                return bool(_AUTHORIZATION.search(encoded) or _URL_PASSWORD.search(encoded))
        return False


def _json_forms(text: str) -> set[str]:
    """How `text` is written inside a JSON string: by `json.dumps` in either mode, and by msgspec."""
    forms = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    with contextlib.suppress(UnicodeEncodeError):  # no UTF-8, and never written by it
        forms.add(msgspec.json.encode(text).decode()[1:-1])
    return forms
