"""The channels that the settings describe."""

from collections.abc import Mapping

import httpx
from pydantic import SecretStr

from opsagent_worker.alerting.channel import Channel, ChannelName
from opsagent_worker.alerting.pagerduty import PagerDuty
from opsagent_worker.alerting.slack import SlackWebhook
from opsagent_worker.alerting.webhook import Webhook
from opsagent_worker.settings import Settings


def configured_channels(
    settings: Settings, client: httpx.AsyncClient
) -> Mapping[ChannelName, Channel]:
    channels: dict[ChannelName, Channel] = {}
    if slack_url := _reveal(settings.slack_webhook_url):
        channels["slack"] = SlackWebhook(client, slack_url)
    if routing_key := _reveal(settings.pagerduty_routing_key):
        channels["pagerduty"] = PagerDuty(client, settings.pagerduty_events_url, routing_key)
    if webhook_url := _reveal(settings.alert_webhook_url):
        secret = _reveal(settings.alert_webhook_secret)
        channels["webhook"] = Webhook(client=client, url=webhook_url, secret=secret)
    return channels


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
