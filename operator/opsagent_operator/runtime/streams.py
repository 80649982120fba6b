"""Whether each watch is alive, seen from the requests that it makes.

kopf does not tell how its watches are, and one that has ended without an error is silent for ever
(kopf's issue 1276). But a living watch opens a new stream every `OPSAGENT_WATCH_TIMEOUT` seconds, or
tries to while the API server is away; a trace on kopf's HTTP session sees each request.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

import aiohttp

from opsagent_operator.kube.client import Resource
from opsagent_operator.observe.cluster import WATCHED, ClusterCache

__all__ = ["Stream", "Streams", "Sweep"]

_BY_PLURAL: Final = {resource.plural: resource for resource in WATCHED}


@dataclass(slots=True)
class Stream:
    """The watch of one kind, in one namespace or in all (None). Times are the event loop's."""

    resource: Resource
    namespace: str | None
    tried_at: float
    """When it last made a request, or was given time to."""
    listed: bool = False
    """Whether everything that there was is in the cache."""
    synced: bool = False
    """Whether it has ever been open after that."""
    listing: int | None = None
    """The list that it shows, or has shown, and whose omissions have not been looked at yet."""
    whole: bool = False
    """Whether that list has been shown to its end."""

    @property
    def name(self) -> str:
        return f"{self.resource.plural}/{self.namespace or '*'}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """A list was shown: cached objects of this kind and namespace that are older have to be checked."""

    resource: Resource
    namespace: str | None
    listing: int


class Streams:
    """All watches that there shall be."""

    def __init__(self, *, namespaces: Iterable[str], cache: ClusterCache) -> None:
        self._cache = cache
        now = asyncio.get_running_loop().time()
        self._streams = {
            (resource, namespace): Stream(resource, namespace, tried_at=now)
            for resource in WATCHED
            for namespace in (tuple(namespaces) or (None,))
        }

    @property
    def synced(self) -> bool:
        """Whether everything has been seen once."""
        return all(stream.synced for stream in self._streams.values())

    @property
    def listed(self) -> bool:
        """Whether all that there was is in the cache."""
        return all(stream.listed for stream in self._streams.values())

    def unsynced(self) -> list[str]:
        return [stream.name for stream in self._streams.values() if not stream.synced]

    def silent(self, seconds: float) -> list[str]:
        """Names of watches that have not made a request for so long."""
        oldest = asyncio.get_running_loop().time() - seconds
        return [stream.name for stream in self._streams.values() if stream.tried_at < oldest]

    def give_time(self) -> None:
        """Nobody can expect requests yet: count their silence from now on."""
        now = asyncio.get_running_loop().time()
        for stream in self._streams.values():
            stream.tried_at = now

    def sweeps(self) -> Iterator[Sweep]:
        """What has to be swept now; each is told once."""
        for stream in self._streams.values():
            if stream.listing is not None and stream.whole:
                yield Sweep(stream.resource, stream.namespace, stream.listing)
                stream.listing = None

    def begin_list(self, stream: Stream) -> None:
        """The first page of a list has come."""
        stream.listing, stream.whole = self._cache.begin_listing(stream.resource), False

    def end_list(self, stream: Stream) -> None:
        """All of a list is in the cache."""
        stream.whole = stream.listed = True

    def trace(self) -> aiohttp.TraceConfig:
        """What shows the requests of an HTTP session to this object."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._on_start)
        trace.on_request_end.append(self._on_end)
        return trace

    async def _on_start(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestStartParams,
    ) -> None:
        if (stream := self.find(request.url.path)) is not None:
            stream.tried_at = asyncio.get_running_loop().time()

    async def _on_end(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        """The head of an answer has come, and nobody has read its body yet."""
        stream = self.find(request.url.path)
        if stream is not None and request.response.status == HTTPStatus.OK:
            stream.synced = stream.synced or request.url.query.get("watch") == "true"

    def find(self, path: str) -> Stream | None:
        """The watch that makes requests to `path`; None for any other path."""
        parts = path.strip("/").split("/")
        resource = _BY_PLURAL.get(parts[-1])
        if resource is None:
            return None
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
        return self._streams.get((resource, namespace))
