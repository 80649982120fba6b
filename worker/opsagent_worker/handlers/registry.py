"""Which handler runs which type of task."""

from collections.abc import Mapping

import httpx
from pydantic import SecretStr

from opsagent_queue import TaskQueue, TaskType
from opsagent_worker.handlers.alert import Alert
from opsagent_worker.handlers.context import Run, TaskHandler
from opsagent_worker.handlers.deploy import Deploy
from opsagent_worker.handlers.investigate import Investigate
from opsagent_worker.handlers.monitor import Monitor
from opsagent_worker.settings import Settings
from opsagent_worker.vercel import VercelApi


def build_handlers(
    settings: Settings, *, client: httpx.AsyncClient, queue: TaskQueue
) -> Mapping[str, TaskHandler]:
    """Task type → handler. A type that is absent here is failed at once (see `Runner`)."""
    services = dict(settings.service_urls)
    if settings.orchestrator_url is not None:
        services.setdefault("orchestrator", f"{settings.orchestrator_url}/health")
    vercel = VercelApi(
        client=client,
        base_url=settings.vercel_api_url,
        token=settings.vercel_token.get_secret_value(),
        team_id=settings.vercel_team_id,
    )
    runs: dict[str, Run] = {
        TaskType.DEPLOY: Deploy(vercel, settings.vercel_poll_interval.total_seconds()),
        TaskType.MONITOR: Monitor(client, services),
        TaskType.ALERT: Alert(
            client,
            slack_url=_reveal(settings.slack_webhook_url),
            webhook_url=_reveal(settings.alert_webhook_url),
        ),
        TaskType.INVESTIGATE: Investigate(client, queue, services),
    }
    return {task_type: TaskHandler(type=task_type, run=run) for task_type, run in runs.items()}


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
