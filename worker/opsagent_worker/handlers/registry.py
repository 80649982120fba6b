"""Which handler runs which type of task."""

from collections.abc import Mapping
from typing import Final

import httpx
import structlog

from opsagent_queue import TaskQueue, TaskType
from opsagent_worker.alerting.configured import configured_channels
from opsagent_worker.checks.checker import HealthChecker
from opsagent_worker.checks.services import Services
from opsagent_worker.handlers.alert import Alert
from opsagent_worker.handlers.context import Run, TaskHandler
from opsagent_worker.handlers.definition import HandlerDefinition
from opsagent_worker.handlers.deploy import Deploy
from opsagent_worker.handlers.deploy_polling import Polling
from opsagent_worker.handlers.investigate import Investigate
from opsagent_worker.handlers.monitor import Monitor
from opsagent_worker.investigation.observer import Observer
from opsagent_worker.settings import Settings
from opsagent_worker.threads import HandlerThreads
from opsagent_worker.vercel import VercelApi

log = structlog.get_logger()

_DEPLOY_MARGIN_SECONDS: Final = 120.0


def build_handlers(
    settings: Settings,
    *,
    client: httpx.AsyncClient,
    queue: TaskQueue,
    own: Mapping[str, HandlerDefinition],
) -> Mapping[str, TaskHandler]:
    """Task type → handler: the built-in ones that the settings ask for, and `own`, the users', which go first.

    A type that is absent here is failed at once (see `Runner`).
    """
    handlers = {
        str(task_type): TaskHandler(
            type=task_type,
            run=_builtin(task_type, settings, client=client, queue=queue),
            timeout=_timeout(task_type, settings),
        )
        for task_type in settings.builtins
        if task_type not in own
    }
    # A task occupies its slot until its thread is free again, so there are never more calls than slots.
    threads = HandlerThreads(settings.concurrency)
    for task_type, definition in own.items():
        replaces = task_type in settings.builtins
        log.info(
            "handler found", task_type=task_type, handler=definition.name, replaces_builtin=replaces
        )
        handlers[task_type] = definition.handler(threads)
    return handlers


def _builtin(
    task_type: TaskType, settings: Settings, *, client: httpx.AsyncClient, queue: TaskQueue
) -> Run:
    services = Services.configured(
        HealthChecker(client),
        urls=settings.service_urls,
        orchestrator_url=settings.orchestrator_url,
        ping_queue=queue.counters,
    )
    match task_type:
        case TaskType.DEPLOY:
            polling = Polling(
                interval=settings.vercel_poll_interval.total_seconds(),
                patience=settings.vercel_deploy_timeout.total_seconds(),
            )
            return Deploy(_vercel(settings, client), polling)
        case TaskType.MONITOR:
            return Monitor(services, queue.notes())
        case TaskType.ALERT:
            return Alert(
                channels=configured_channels(settings, client),
                notes=queue.notes(),
                dedup_window=settings.alert_dedup_window,
            )
        case TaskType.INVESTIGATE:
            configured = settings.vercel_token is not None and settings.vercel_team_id is not None
            vercel = _vercel(settings, client) if configured else None
            return Investigate(Observer(queue, services, vercel), queue)
        case _:
            raise ValueError(f"no handler for {task_type} tasks comes with the worker")


def _timeout(task_type: TaskType, settings: Settings) -> float | None:
    """Seconds an attempt may take; None: as any task."""
    if task_type is TaskType.DEPLOY:
        # It keeps to the deployment's own limit, and needs time to end it.
        return settings.vercel_deploy_timeout.total_seconds() + _DEPLOY_MARGIN_SECONDS
    return None


def _vercel(settings: Settings, client: httpx.AsyncClient) -> VercelApi:
    token, team_id = settings.vercel_token, settings.vercel_team_id
    if token is None or team_id is None:
        raise ValueError("the built-in deploy handler needs VERCEL_TOKEN and VERCEL_TEAM_ID")
    return VercelApi(
        client=client,
        base_url=settings.vercel_api_url,
        token=token.get_secret_value(),
        team_id=team_id,
    )
