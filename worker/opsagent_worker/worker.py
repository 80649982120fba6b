"""Puts the worker together and runs it, from its start to the end of its drain."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, assert_never

import structlog

from opsagent_queue import (
    Cancelled,
    Created,
    Heartbeat,
    QueueError,
    Subscribed,
    TaskQueue,
    Woken,
    connect,
    now_iso,
)
from opsagent_worker.backoff import Backoff
from opsagent_worker.cancellation import SERVICES_AGAIN_SECONDS, cancel_until_done
from opsagent_worker.cgroup import Container
from opsagent_worker.consumer import Claiming, Consumer
from opsagent_worker.drain import StopSignals, drain, interrupt
from opsagent_worker.error_reports import ErrorReports
from opsagent_worker.events import EventPublisher
from opsagent_worker.handlers.context import TaskHandler
from opsagent_worker.handlers.definition import HandlerDefinition
from opsagent_worker.handlers.registry import build_handlers
from opsagent_worker.heartbeat import HeartbeatSender, ProcessUsage
from opsagent_worker.journal import Journal
from opsagent_worker.leases import LeaseKeeper
from opsagent_worker.logs import Lines
from opsagent_worker.metrics import Metrics
from opsagent_worker.outbound import circuit_breakers, new_client
from opsagent_worker.probes import Health, ProbeServer
from opsagent_worker.progress import ProgressReporter
from opsagent_worker.reaper import reap_forever
from opsagent_worker.redaction import Redactor
from opsagent_worker.reporter import Report, Reported, Reporter
from opsagent_worker.runner import Runner
from opsagent_worker.running import Watcher
from opsagent_worker.settings import Settings
from opsagent_worker.sla import SlaWatch
from opsagent_worker.watchdog import LoopWatchdog

log = structlog.get_logger()

_GOODBYE_SECONDS: Final = 2.0

# What one claim takes at worst, when Redis swallows packets: a wait for the reply on an idle connection, four tries of
# connecting and of waiting for the reply, 5 s each, and the waits between them.
_SLOWEST_CLAIM_SECONDS: Final = 60.0


async def run_worker(
    settings: Settings,
    *,
    own: Mapping[str, HandlerDefinition],
    signals: StopSignals,
    error_reports: ErrorReports,
    lines: Lines,
) -> None:
    """Works until `signals.drain`, then drains and returns.

    `own` are the users' handlers by type. `error_reports` is told of each final failure.

    Raises an exception group if a part of the worker itself fails, after handing back what was running.
    """
    metrics = Metrics()
    metrics.build_info.labels(settings.version, settings.revision).set(1)
    health = Health(claim_limit=3 * _seconds(settings.poll_interval) + _SLOWEST_CLAIM_SECONDS)
    lease = _seconds(settings.lease)
    with ProbeServer(port=settings.http_port, health=health, registry=metrics.registry) as probes:
        async with (
            _queue(settings, purpose="worker") as queue,
            # Renewals never wait behind other commands, and learn within a quarter of the lease that one has failed.
            _queue(
                settings, purpose="renewals", connections=1, reply_within=min(5.0, lease / 4)
            ) as renewals,
        ):
            # Its connections end with the process. To close it httpx would first import what it closes with, which
            # takes as long as all the rest of a stop.
            client = new_client(version=settings.version, breakers=circuit_breakers(metrics))
            parts = WorkerParts(
                settings=settings,
                queue=queue,
                renewals=renewals,
                handlers=build_handlers(settings, client=client, queue=queue, own=own),
                metrics=metrics,
                health=health,
                signals=signals,
                error_reports=error_reports,
                lines=lines,
            )
            _log_start(settings, port=probes.port)
            await parts.work()
            await _say_goodbye(queue, settings.pod_name)
    log.info("worker stopped")


class WorkerParts:
    """What runs side by side in a worker."""

    def __init__(
        self,
        *,
        settings: Settings,
        queue: TaskQueue,
        renewals: TaskQueue,
        handlers: Mapping[str, TaskHandler],
        metrics: Metrics,
        health: Health,
        signals: StopSignals,
        error_reports: ErrorReports,
        lines: Lines | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        """`watchers` are told of each task that starts and ends. `lines` is where logs go; default: a sink of its own."""
        self._settings = settings
        self._queue = queue
        self._metrics = metrics
        self._health = health
        self._signals = signals
        self._lease = _seconds(settings.lease)
        self._error_reports = error_reports
        redactor = settings.redactor()
        journal = Journal(metrics=metrics, lines=lines or Lines(redactor, level=settings.log_level))
        self.keeper = LeaseKeeper(renewals, lease_seconds=self._lease, metrics=metrics)
        self.reporter = Reporter(
            queue,
            version=settings.version,
            result_ttl_ms=_milliseconds(settings.result_ttl),
            keeper=self.keeper,
            metrics=metrics,
            reported=_tell(journal.reported, error_reports.reported),
        )
        self.events = EventPublisher(self.reporter.post, redactor=redactor)
        self.sla = SlaWatch(
            queue=queue,
            events=self.events,
            metrics=metrics,
            pod_name=settings.pod_name,
            memory_ms=_milliseconds(settings.result_ttl),
        )
        self.progress = ProgressReporter(
            queue=queue, pod_name=settings.pod_name, redactor=redactor, metrics=metrics
        )
        self.consumer = Consumer(
            queue,
            Claiming(
                owner=settings.pod_name,
                version=settings.version,
                slots=settings.concurrency,
                lease=self._lease,
                poll_interval=_seconds(settings.poll_interval),
            ),
            runner=_runner(
                settings,
                handlers=handlers,
                reporter=self.reporter,
                events=self.events,
                journal=journal,
                redactor=redactor,
                progress=self.progress,
            ),
            reporter=self.reporter,
            keeper=self.keeper,
            metrics=metrics,
            health=health,
            fault=error_reports.fault,
            watchers=(self.sla, self.progress, *watchers),
        )
        self.heartbeats = HeartbeatSender(
            queue,
            pod_name=settings.pod_name,
            describe=_describe(settings, self.consumer, signals),
            metrics=metrics,
        )

    async def work(self) -> None:
        """Until drained. If a part fails, what was running is handed back before its error is raised."""
        reporting = asyncio.create_task(self.reporter.run())
        try:
            await self._work_and_drain()
        except BaseException:
            if self.consumer.busy:
                await interrupt(self.consumer)
            raise
        finally:
            await cancel_until_done([reporting], again=SERVICES_AGAIN_SECONDS)

    async def _work_and_drain(self) -> None:
        """The claim loop ends first; all else goes on until nothing runs any more and everything is reported."""
        async with asyncio.TaskGroup() as services:
            claim_loop = services.create_task(self.consumer.run())
            background = [
                services.create_task(service)
                for service in (
                    self.keeper.run(),
                    self.heartbeats.run(),
                    _listen(self._queue, self.consumer, self.keeper),
                    LoopWatchdog(health=self._health, metrics=self._metrics).run(),
                    self.sla.run(),
                    self.progress.run(),
                    reap_forever(
                        self._queue,
                        lease_seconds=self._lease,
                        result_ttl_ms=_milliseconds(self._settings.result_ttl),
                        metrics=self._metrics,
                        poisoned=self._error_reports.poisoned,
                    ),
                )
            ]
            await self._signals.drain.wait()
            self._health.claiming = False
            self._metrics.draining.set(1)
            background.append(services.create_task(self.heartbeats.send()))
            await drain(
                self.consumer,
                claim_loop,
                now=self._signals.now,
                patience=_seconds(self._settings.drain_timeout),
            )
            await cancel_until_done(background, again=SERVICES_AGAIN_SECONDS)
            await self.progress.last_words()


def _tell(*listeners: Reported) -> Reported:
    def tell(report: Report, taken: bool) -> None:  # noqa: FBT001 - see `Reported`
        for listener in listeners:
            listener(report, taken)

    return tell


def _runner(
    settings: Settings,
    *,
    handlers: Mapping[str, TaskHandler],
    reporter: Reporter,
    events: EventPublisher,
    journal: Journal,
    redactor: Redactor,
    progress: ProgressReporter,
) -> Runner:
    return Runner(
        handlers=handlers,
        reporter=reporter,
        events=events,
        journal=journal,
        redactor=redactor,
        backoff=Backoff(
            base=_seconds(settings.retry_backoff), ceiling=_seconds(settings.retry_max_backoff)
        ),
        task_timeout=_seconds(settings.task_timeout),
        max_attempts=settings.retry_max_attempts,
        version=settings.version,
        pod_name=settings.pod_name,
        progress=progress.report,
    )


def _log_start(settings: Settings, *, port: int) -> None:
    log.info(
        "worker started",
        worker=settings.worker,
        pod=settings.pod_name,
        version=settings.version,
        revision=settings.revision,
        agents=list(settings.agents),
        slots=settings.concurrency,
        port=port,
    )


@contextlib.asynccontextmanager
async def _queue(
    settings: Settings, *, purpose: str, connections: int = 8, reply_within: float = 5.0
) -> AsyncIterator[TaskQueue]:
    redis = connect(
        settings.redis_url.get_secret_value(),
        ca_file=settings.redis_ca_file,
        allow_insecure_tls=settings.redis_allow_insecure_tls,
        socket_timeout=reply_within,
        max_connections=connections,
        client_name=f"opsagent-{purpose}",
    )
    try:
        yield TaskQueue(
            redis, worker=settings.worker, prefix=settings.queue_prefix, agents=settings.agents
        )
    finally:
        # Over TLS the other side has its part in closing, and it may be gone.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await redis.aclose()


def _describe(
    settings: Settings, consumer: Consumer, signals: StopSignals
) -> Callable[[], Heartbeat]:
    started, process, container = now_iso(), ProcessUsage(), Container()

    def describe() -> Heartbeat:
        usage = container.usage()
        return Heartbeat(
            version=settings.version,
            revision=settings.revision,
            slots=settings.concurrency,
            # Ended tasks whose report is on its way hold leases, but no slot.
            busy=min(consumer.busy, settings.concurrency),
            draining=signals.drain.is_set() or consumer.marked,
            started=started,
            cpu_percent=process.cpu_percent(),
            memory_bytes=process.memory_bytes(),
            cpu_limit_cores=usage.cpu_limit_cores,
            cpu_limit_percent=usage.cpu_limit_percent,
            memory_limit_bytes=usage.memory_limit_bytes,
            memory_limit_percent=usage.memory_limit_percent,
            running=consumer.running_by_type(),
        )

    return describe


async def _listen(queue: TaskQueue, consumer: Consumer, keeper: LeaseKeeper) -> None:
    async with queue.wakeups() as wakeups:
        async for wakeup in wakeups:
            match wakeup:
                case Created(task_id):
                    consumer.announce(task_id)
                case Cancelled(task_id):
                    keeper.ask_about(task_id)
                case Subscribed() | Woken():
                    consumer.wake()
                case _:
                    assert_never(wakeup)


async def _say_goodbye(queue: TaskQueue, pod_name: str) -> None:
    """Takes the heartbeat away; if that fails it goes stale, which the operator understands as well."""
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await queue.forget_worker(pod_name)
    except (QueueError, TimeoutError) as error:
        log.warning("heartbeat not removed", reason=str(error))


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
