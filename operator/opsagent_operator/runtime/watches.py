"""Keeps the watches running, whatever the API server does: kopf, embedded and supervised.

kopf only tells here: its handlers put objects into the cache and owners into the queue. It writes
nothing: no handler of it needs progress, finalizers or annotations, and its events are switched off.

What kopf 1.45 takes as a reason to end, and what is done about it:

- Answers 5xx, 403 and 429, or no connection, for longer than its delays last (54 s): the delays here
  never end.
- An ERROR event in a watch other than "410 Gone", an answer that cannot be read, 404 because the
  CustomResourceDefinition is gone: kopf has no setting for these, so all its tasks are started anew,
  with growing delays, and counted. The cache stays; the new lists bring it up to date.
- A watch that ended without an error: noticed by its silence (`streams`), then likewise.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any, Final, cast

import kopf
import msgspec
import structlog
from yarl import URL

from opsagent_operator.kube.client import WORKERS, Kube, Resource
from opsagent_operator.kube.errors import KubeError, NotFound
from opsagent_operator.kube.login import load_configuration, watch_session
from opsagent_operator.manifests.labels import WORKER as OWNER_LABEL
from opsagent_operator.observe.cluster import WATCHED, ClusterCache, Key
from opsagent_operator.runtime.lists import PAGE, Page, response_class
from opsagent_operator.runtime.metrics import Metrics
from opsagent_operator.runtime.settings import Settings
from opsagent_operator.runtime.streams import Streams

__all__ = ["Watches", "silence_limit"]

RETRY_LIMIT: Final = 10.0
"""Seconds between two attempts to reach the API server at most."""
RESTART_LIMIT: Final = 30.0
"""Seconds between two starts of kopf at most."""
HEALTHY_AFTER: Final = 60.0
"""Seconds of running after which the next restart is a first one again."""
LOGIN_INTERVAL: Final = 5.0
"""Seconds between two logins: refused credentials must not become a flood of attempts."""
CONNECT_TIMEOUT: Final = 5.0
GRACE: Final = 15.0
"""Seconds beyond the server's own timeout after which a stream is cut from this side."""

log = structlog.get_logger(__name__)


class _Forever:
    """kopf's delays between attempts: 1, 2, 4, 8 seconds, then `RETRY_LIMIT`, without end."""

    def __iter__(self) -> Iterator[float]:
        delay = 1.0
        while True:
            yield delay * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, hides nothing
            delay = min(delay * 2, RETRY_LIMIT)


class _NoDiffs(kopf.AnnotationsDiffBaseStorage):
    """Finds no object to differ from its earlier state."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> None:
        return None


def silence_limit(settings: Settings) -> float:
    """For how many seconds a living watch may make no request at most."""
    return 3 * (settings.watch_timeout + GRACE)


class Watches:
    """All watches. `run` never returns.

    `enqueue` is told the `OpsAgentWorker` that has to be looked at. `on_start` is called after each
    start of kopf, which then has taken the process' signal handlers for itself.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        kube: Kube,
        cache: ClusterCache,
        streams: Streams,
        enqueue: Callable[[Key], None],
        on_start: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._kube = kube
        self._cache = cache
        self._streams = streams
        self._enqueue = enqueue
        self._on_start = on_start
        self._metrics = metrics
        self._held: set[Key] | None = set()
        """Owners to look at once everything has been seen; None from then on."""
        self._next_login = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        delay = 1.0
        while True:
            await self._wait_for_definition()
            started = loop.time()
            reason = await self._watch()
            if loop.time() - started > HEALTHY_AFTER:
                delay = 1.0
            self._metrics.watch_restarts.inc()
            log.error("watches failed; starting them anew", reason=reason, delay_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RESTART_LIMIT)

    async def _wait_for_definition(self) -> None:
        """Kopf looks only once, at its start, for what it can watch."""
        told = False
        while True:
            self._streams.give_time()
            try:
                if WORKERS.plural in await self._kube.api_resources(WORKERS):
                    return
                problem = "not served"
            except NotFound:
                problem = "not served"
            except KubeError as error:
                problem = str(error)
            if not told:
                log.warning(
                    "waiting for the CustomResourceDefinition of OpsAgentWorker; if it stays away,"
                    " install it: kubectl apply -f crds/",
                    problem=problem,
                )
                told = True
            await asyncio.sleep(CONNECT_TIMEOUT)

    async def _watch(self) -> str:
        """Run kopf until it or one of its watches ends; returns why."""
        namespaces = self._settings.watch_namespaces
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        self._on_start()
        limit = silence_limit(self._settings) * 2 / 3  # before /healthz takes it for dead
        try:
            while True:
                done, _ = await asyncio.wait(
                    tasks, timeout=limit / 10, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return _describe(done)
                if silent := self._streams.silent(limit):
                    return f"silent watches: {', '.join(silent)}"
        finally:
            await _end(tasks)
            self._streams.give_time()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login")(self._login)
        for resource in WATCHED:
            selector: dict[str, Any] = {
                "group": resource.group,
                "version": resource.version,
                "plural": resource.plural,
                "registry": registry,
            }
            kopf.on.event(id="told", **selector)(self._when_told(resource))
        return registry

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        # Neither namespaces nor definitions are watched: that would need permissions for the
        # whole cluster, and is of no use to an operator of one kind.
        settings.scanning.disabled = True
        # kopf would kill the process so long after its own end, which is not ours.
        settings.process.ultimate_exiting_timeout = None
        settings.networking.error_backoffs = _Forever()
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = CONNECT_TIMEOUT
        settings.watching.server_timeout = self._settings.watch_timeout
        settings.watching.client_timeout = self._settings.watch_timeout + GRACE
        settings.watching.inactivity_timeout = self._settings.watch_timeout + GRACE
        settings.watching.connect_timeout = CONNECT_TIMEOUT
        settings.watching.chunk_size = PAGE
        settings.queueing.idle_timeout = 1
        # For handlers of changes, of which there are none, kopf would copy every object it sees.
        settings.persistence.diffbase_storage = _NoDiffs()
        for resource in WATCHED:
            if resource != WORKERS:
                settings.watching.label_selectors[
                    resource.group, resource.version, resource.plural
                ] = OWNER_LABEL
        return settings

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._next_login - loop.time()))
        self._next_login = loop.time() + LOGIN_INTERVAL
        return watch_session(
            await load_configuration(),
            traces=[self._streams.trace()],
            response_class=response_class(self._take_list),
        )

    def _when_told(self, resource: Resource) -> Callable[..., Awaitable[None]]:
        """What changes after the lists."""

        async def told(event: Mapping[str, Any], **_: Any) -> None:
            body = event["object"]
            if event["type"] == "DELETED":
                owners = self._cache.observe_deletion(resource, body)
            else:
                owners = self._cache.observe(resource, body, listed=False)
            for owner in owners:
                self._look_at(owner)

        return told

    def _take_list(self, url: URL, payload: bytes) -> Mapping[str, Any] | None:
        """Put the objects of a page into the cache; returns the page without them."""
        stream = self._streams.find(url.path)
        if stream is None:
            return None
        page, resource = Page.read(payload), stream.resource
        if "continue" not in url.query:
            self._streams.begin_list(stream)
        for text in page.items or ():
            # Lists leave out in their items what is the same in all.
            body = {"apiVersion": resource.api_version, "kind": resource.kind}
            body |= msgspec.json.decode(text)
            for owner in self._cache.observe(resource, body, listed=True):
                self._look_at(owner)
        if page.last:
            self._streams.end_list(stream)
            if self._streams.listed:
                self._release()
        return page.without_items()

    def _look_at(self, owner: Key) -> None:
        if self._held is not None:
            self._held.add(owner)
        else:
            self._enqueue(owner)

    def _release(self) -> None:
        held, self._held = self._held, None
        for owner in held or ():
            self._enqueue(owner)


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """End kopf: its root tasks, and the watches, which outlive an orchestrator that has failed.

    kopf.run_tasks would do it by cancelling every task that is younger than kopf, ours among them.
    """
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    watches = {task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")}
    for task in watches:
        task.cancel()
    # Gathered, so that asyncio does not complain of results that nobody has asked for.
    await asyncio.gather(*tasks, *watches, return_exceptions=True)


def _describe(done: Collection[asyncio.Task[Any]]) -> str:
    return "; ".join(
        "cancelled" if task.cancelled() else str(task.exception() or f"{task.get_name()} ended")
        for task in done
    )
