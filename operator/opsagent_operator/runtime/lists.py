"""Takes lists past kopf.

kopf makes a task of each object in a list, which keeps it as Python's dictionaries; and when a list is
to be known before anything else happens, all these tasks are woken whenever one more is through: that is the
square of their number. So what is in a list is taken out of the answer, page by page, and kopf is shown
an empty page; it goes on to watch from there, as after any list.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.typedefs import DEFAULT_JSON_DECODER, JSONDecoder
from yarl import URL

__all__ = ["PAGE", "Page", "response_class"]

PAGE: Final = 500
"""Objects in one page: as many as the API server's other clients ask for."""


class _Metadata(msgspec.Struct, frozen=True):
    resource_version: str = msgspec.field(name="resourceVersion")
    next: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, frozen=True):
    """A page of a list: objects as JSON text, so that there is never more than one as dictionaries."""

    metadata: _Metadata
    items: list[msgspec.Raw] | None = None

    @classmethod
    def read(cls, payload: bytes) -> "Page":
        """Raises `ValueError` if it is no list."""
        return msgspec.json.decode(payload, type=cls)

    @property
    def last(self) -> bool:
        return not self.metadata.next

    def without_items(self) -> Mapping[str, Any]:
        """What kopf is shown."""
        page: Mapping[str, Any] = msgspec.to_builtins(Page(self.metadata, []))
        return page


def response_class(
    take: Callable[[URL, bytes], Mapping[str, Any] | None],
) -> type[aiohttp.ClientResponse]:
    """For a session of kopf: `take` sees each answer, and says what is read instead, if it takes it."""

    class Response(aiohttp.ClientResponse):
        async def json(
            self,
            *,
            encoding: str | None = None,
            loads: JSONDecoder = DEFAULT_JSON_DECODER,
            content_type: str | None = "application/json",
        ) -> Any:
            if self.status == HTTPStatus.OK:
                rest = take(self.url, await self.read())
                if rest is not None:
                    return rest
            return await super().json(encoding=encoding, loads=loads, content_type=content_type)

    return Response
