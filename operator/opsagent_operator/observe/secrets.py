"""Secrets, read by name and remembered for a moment. Their values stay in this process' memory."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from opsagent_operator.kube.errors import NotFound
from opsagent_operator.observe.cluster import Key

__all__ = ["SecretCache"]

TTL: Final = 60.0
"""Seconds. A rotated password is noticed at once by its failure; this is for what fails silently."""

Read = Callable[[Key], Awaitable[Mapping[str, Any]]]


class SecretCache:
    """Decoded Secrets by name; `read` gets one from the API server and raises `KubeError`s."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[Key, tuple[float, Mapping[str, str]]] = {}
        self._reading: dict[Key, asyncio.Task[Mapping[str, str] | None]] = {}

    async def get(self, key: Key) -> Mapping[str, str] | None:
        """The Secret's data as text; None if there is no such Secret.

        Raises:
            KubeError: the API server does not answer, or does not let us read it.
        """
        now = asyncio.get_running_loop().time()
        if (known := self._known.get(key)) is not None and now < known[0] + TTL:
            return known[1]
        # A thousand objects that share a Secret ask for it at the same moment: it is read once.
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.create_task(self._read_now(key, now))
            reading.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(reading)

    async def _read_now(self, key: Key, now: float) -> Mapping[str, str] | None:
        try:
            data = (await self._read(key)).get("data") or {}
        except NotFound:
            return None  # not remembered: whoever creates it waits for us to see it
        decoded = {name: _decode(value) for name, value in data.items()}
        if self._reading.get(key) is asyncio.current_task():
            self._known[key] = (now, decoded)
        return decoded

    def _ended(self, key: Key, reading: asyncio.Task[Mapping[str, str] | None]) -> None:
        if self._reading.get(key) is reading:
            del self._reading[key]
        if not reading.cancelled():
            reading.exception()  # whoever waited has it; perhaps nobody does any more

    def forget(self, key: Key) -> None:
        """Read it again when it is asked for next: what it says did not work."""
        self._known.pop(key, None)
        self._reading.pop(key, None)

    def prune(self) -> None:
        """Forget what is outdated anyway."""
        oldest = asyncio.get_running_loop().time() - TTL
        for key in [key for key, (at, _) in self._known.items() if at < oldest]:
            del self._known[key]


def _decode(value: str) -> str:
    """A value of a Secret as text; bytes that are no text cannot be a URL or a certificate."""
    try:
        return base64.b64decode(value).decode("utf-8", errors="replace").strip()
    except binascii.Error:  # the API server lets none through
        return ""
