"""Watches are seen by the requests that they make."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from opsagent_operator.kube.client import DEPLOYMENTS
from opsagent_operator.observe.cluster import WATCHED, ClusterCache
from opsagent_operator.runtime.streams import Streams, Sweep

Run = Callable[[Any], Any]


class Server:
    """Shows requests to the trace, as aiohttp would."""

    def __init__(self, streams: Streams) -> None:
        self._trace = streams.trace()

    async def request(self, path: str, *, status: int = 200, **query: str) -> None:
        url = SimpleNamespace(path=path, query=query)
        about: Any = SimpleNamespace(url=url, response=SimpleNamespace(status=status))
        nobody: Any = None
        await self._trace.on_request_start[0](nobody, SimpleNamespace(), about)
        await self._trace.on_request_end[0](nobody, SimpleNamespace(), about)

    async def watch(self, path: str, *, status: int = 200) -> None:
        await self.request(path, status=status, watch="true")


def path_of(resource: Any, namespace: str | None) -> str:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else "/api/v1"
    return f"{root}/{'namespaces/' + namespace + '/' if namespace else ''}{resource.plural}"


@pytest.mark.parametrize("namespaces", [(), ("a", "b")])
def test_the_operator_is_in_sync_when_every_watch_is_open(
    run: Run, namespaces: tuple[str, ...]
) -> None:
    async def work() -> None:
        streams = Streams(namespaces=namespaces, cache=ClusterCache())
        server = Server(streams)
        paths = [
            path_of(resource, namespace)
            for resource in WATCHED
            for namespace in namespaces or (None,)
        ]
        for path in paths:
            assert not streams.synced
            assert len(streams.unsynced()) >= 1
            await server.request(path)
            await server.watch(path)
        assert streams.synced
        assert streams.unsynced() == []

    run(work())


def test_a_list_alone_or_a_refused_watch_is_not_in_sync(run: Run) -> None:
    async def work() -> None:
        streams = Streams(namespaces=(), cache=ClusterCache())
        server = Server(streams)
        for resource in WATCHED:
            await server.request(path_of(resource, None))
            await server.watch(path_of(resource, None), status=403)
        assert not streams.synced

    run(work())


def test_a_watch_without_requests_is_silent_and_one_that_is_refused_is_not(run: Run) -> None:
    async def work() -> None:
        streams = Streams(namespaces=(), cache=ClusterCache())
        server = Server(streams)
        for _ in range(10):
            await asyncio.sleep(20)
            for resource in WATCHED:
                if resource != DEPLOYMENTS:
                    await server.watch(path_of(resource, None), status=503)
        assert streams.silent(150) == ["deployments/*"]
        streams.give_time()
        assert streams.silent(150) == []

    run(work())


def test_a_list_is_swept_once_when_it_is_whole(run: Run) -> None:
    async def work() -> None:
        streams = Streams(namespaces=(), cache=ClusterCache())
        stream = streams.find(path_of(DEPLOYMENTS, None))
        assert stream is not None
        assert list(streams.sweeps()) == []
        streams.begin_list(stream)
        assert list(streams.sweeps()) == []  # what a later page mentions would be asked for in vain
        streams.end_list(stream)
        assert list(streams.sweeps()) == [Sweep(DEPLOYMENTS, None, 1)]
        assert list(streams.sweeps()) == []

    run(work())


def test_a_list_that_was_cut_short_is_not_swept_and_the_next_one_is(run: Run) -> None:
    async def work() -> None:
        streams = Streams(namespaces=(), cache=ClusterCache())
        stream = streams.find(path_of(DEPLOYMENTS, None))
        assert stream is not None
        streams.begin_list(stream)
        streams.begin_list(stream)
        assert list(streams.sweeps()) == []
        streams.end_list(stream)
        assert list(streams.sweeps()) == [Sweep(DEPLOYMENTS, None, 2)]

    run(work())


def test_everything_is_known_when_each_kind_has_been_listed_once(run: Run) -> None:
    async def work() -> None:
        streams = Streams(namespaces=(), cache=ClusterCache())
        found = [streams.find(path_of(resource, None)) for resource in WATCHED]
        for stream in filter(None, found):
            assert not streams.listed
            streams.begin_list(stream)
            assert not streams.listed
            streams.end_list(stream)
        assert streams.listed
        for stream in filter(None, found):  # after an outage: takes nothing of that back
            streams.begin_list(stream)
        assert streams.listed

    run(work())


def test_requests_that_are_no_watch_of_ours_are_nobodys(run: Run) -> None:
    async def work() -> None:
        streams = Streams(namespaces=("a",), cache=ClusterCache())
        server = Server(streams)
        await asyncio.sleep(100)
        for path in ("/apis", "/apis/apps/v1", "/api/v1/namespaces/other/pods", "/api/v1/pods"):
            await server.watch(path)
        assert len(streams.silent(50)) == len(WATCHED)

    run(work())
