"""The operator's process: puts the parts together, runs them, ends them in order."""

import asyncio
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import Final, NoReturn

import structlog
import uvloop
from kubernetes.aio.config import ConfigException

from opsagent_operator.act.execute import Executor
from opsagent_operator.decide.polls import Polls
from opsagent_operator.decide.reconcile import decide
from opsagent_operator.kube.client import SECRETS, Kube
from opsagent_operator.kube.errors import KubeError
from opsagent_operator.kube.login import load_configuration
from opsagent_operator.observe.cluster import WATCHED, ClusterCache, Key
from opsagent_operator.observe.queue import Queues
from opsagent_operator.observe.redis_pools import RedisPools
from opsagent_operator.observe.secrets import SecretCache
from opsagent_operator.runtime import health
from opsagent_operator.runtime.controller import Controller
from opsagent_operator.runtime.logs import configure_logs
from opsagent_operator.runtime.metrics import Metrics
from opsagent_operator.runtime.reconciler import Reconciler
from opsagent_operator.runtime.resting import Resting
from opsagent_operator.runtime.scaling_metrics import Subscriber
from opsagent_operator.runtime.settings import Settings, SettingsError, load_settings
from opsagent_operator.runtime.streams import Streams
from opsagent_operator.runtime.sweep import sweep
from opsagent_operator.runtime.watches import Watches, silence_limit
from opsagent_operator.runtime.workqueue import Backoff, WorkQueue

__all__ = ["Operator", "main"]

BACKOFF_BASE: Final = 0.5
BACKOFF_LIMIT: Final = 60.0
"""Seconds between two attempts at an object that keeps failing."""
HOUSEKEEPING: Final = 2.0
"""Seconds between two rounds of looking after what nothing else looks after."""
STUCK_MARGIN: Final = 30.0
"""Seconds beyond its timeout after which a reconciliation counts as stuck."""

log = structlog.get_logger(__name__)


class Operator:
    """All parts of the operator, wired."""

    def __init__(self, settings: Settings) -> None:
        rng = random.Random()  # noqa: S311 - spreads load, hides nothing
        self.settings = settings
        self.metrics = Metrics()
        self.stopping = asyncio.Event()
        self.cache = ClusterCache()
        self.kube = Kube(timeout=settings.request_timeout, on_response=self.metrics.count_request)
        self.pools = RedisPools(wake=self._wake)
        self.secrets = SecretCache(self._read_secret)
        self.queues = Queues(pools=self.pools, secrets=self.secrets)
        self.queue: WorkQueue[Key] = WorkQueue(
            backoff=Backoff(base=BACKOFF_BASE, limit=BACKOFF_LIMIT, rng=rng),
            metrics=self.metrics.queue,
        )
        self.resting = Resting(
            cache=self.cache,
            queues=self.queues,
            wake=self.queue.add,
            looked=self.metrics.scaling.queue_was_read,
            rng=rng,
        )
        self.reconciler = Reconciler(
            cache=self.cache,
            queues=self.queues,
            executor=Executor(kube=self.kube, cache=self.cache, queues=self.queues),
            metrics=self.metrics.scaling,
            resting=self.resting,
            decide=partial(decide, polls=_polls(settings)),
        )
        self.controller = Controller(
            queue=self.queue,
            reconcile=self.reconciler.reconcile,
            workers=settings.workers,
            timeout=settings.reconcile_timeout,
            rng=rng,
            metrics=self.metrics,
        )
        self.streams = Streams(namespaces=settings.watch_namespaces, cache=self.cache)
        self.watches = Watches(
            settings=settings,
            kube=self.kube,
            cache=self.cache,
            streams=self.streams,
            enqueue=self.queue.add,
            on_start=self._take_signals,
            metrics=self.metrics,
        )
        self.metrics.scaling.watch_subscribers(self._subscribers)

    async def run(self) -> None:
        """Run until told to stop; what is being reconciled then is finished first."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.kube.close)
            stack.push_async_callback(self.pools.close)
            self._take_signals()
            runner, port = await health.serve(
                host=self.settings.http_host,
                port=self.settings.http_port,
                healthy=(self._silent_watches, self._stuck_work),
                ready=(self._unsynced_watches, self._stopping),
                metrics=self.metrics.registry,
            )
            stack.push_async_callback(runner.cleanup)
            log.info(
                "operator started",
                version=version("opsagent-operator"),
                namespaces=self.settings.watch_namespaces or "all",
                http_port=port,
            )
            # If any of these ends with an error, so does the process: the kubelet starts it anew.
            async with asyncio.TaskGroup() as group:
                working = group.create_task(self.controller.run(), name="controller")
                watching = group.create_task(self.watches.run(), name="watches")
                keeping = group.create_task(self._keep_house(), name="housekeeping")
                looking = group.create_task(self.resting.run(), name="looking after who rests")
                await self.stopping.wait()
                log.info("operator stops")
                watching.cancel()
                keeping.cancel()
                looking.cancel()
                self.queue.shut_down()
                await asyncio.wait({working}, timeout=self.settings.shutdown_timeout)
                if working.cancel():
                    log.warning("gave up running reconciliations; the next start repeats them")
        log.info("operator stopped")

    async def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asleep = loop.time()
            await asyncio.sleep(HOUSEKEEPING)
            self.metrics.loop_lag.set(loop.time() - asleep - HOUSEKEEPING)
            for resource in WATCHED:
                self.metrics.cached_objects.labels(resource.kind).set(self.cache.count(resource))
            self.secrets.prune()
            await self.pools.close_unused()
            for order in self.streams.sweeps():
                try:
                    await sweep(order, kube=self.kube, cache=self.cache, enqueue=self.queue.add)
                except KubeError as error:
                    log.warning("cannot check for deleted objects", error=str(error))

    def _wake(self, key: Key, announced: float | None) -> None:
        if announced is not None:
            self.reconciler.announce(key, announced)
        self.queue.add(key)

    def _subscribers(self) -> Iterator[Subscriber]:
        for pool in self.pools:
            if pool.listener.started:
                yield Subscriber(
                    redis=pool.address,
                    subscribed=pool.listener.listening,
                    reconnects=max(0, pool.listener.connections - 1),
                )

    async def _read_secret(self, key: Key) -> dict[str, object]:
        return await self.kube.get(SECRETS, namespace=key.namespace, name=key.name)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)

    # What /healthz and /readyz ask.

    def _silent_watches(self) -> str | None:
        silent = self.streams.silent(silence_limit(self.settings))
        return f"watches without a sign of life: {', '.join(silent)}" if silent else None

    def _stuck_work(self) -> str | None:
        seconds = self.queue.longest_running()
        stuck = seconds > self.settings.reconcile_timeout + STUCK_MARGIN
        return f"a reconciliation has been running for {seconds:.0f} s" if stuck else None

    def _unsynced_watches(self) -> str | None:
        unsynced = self.streams.unsynced()
        return f"not seen yet: {', '.join(unsynced)}" if unsynced else None

    def _stopping(self) -> str | None:
        return "stopping" if self.stopping.is_set() else None


def _polls(settings: Settings) -> Polls:
    return Polls(
        active=timedelta(seconds=settings.active_poll), idle=timedelta(seconds=settings.idle_poll)
    )


async def _run(settings: Settings) -> None:
    await load_configuration()  # so that a missing kubeconfig ends the process with one sentence
    await Operator(settings).run()


def main() -> NoReturn:
    """Entry point of `opsagent-operator`."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"opsagent-operator: {error}")
    configure_logs(settings.log_level)
    try:
        uvloop.run(_run(settings))
    except ConfigException as error:
        sys.exit(
            f"opsagent-operator: no way to the API server: {error}; point KUBECONFIG at a kubeconfig"
            " with a current context (`make cluster-up` starts a cluster and prints where its own is)"
        )
    sys.exit(0)
