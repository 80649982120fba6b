"""Any other receiver: JSON by POST, signed if it shares a secret with us."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

import httpx

from opsagent_worker.alerting.channel import ChannelName
from opsagent_worker.alerting.notification import Notification
from opsagent_worker.outbound import call

TIMESTAMP_HEADER: Final = "X-OpsAgent-Timestamp"
SIGNATURE_HEADER: Final = "X-OpsAgent-Signature"


def sign(secret: str, *, timestamp: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256, in hex, of the timestamp, a dot and the body.

    The moment is signed too, so that a receiver can refuse what somebody recorded and sends again later.
    """
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    client: httpx.AsyncClient
    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    clock: Callable[[], float] = time.time

    @property
    def name(self) -> ChannelName:
        return "webhook"

    def reserve(self) -> float:
        return 0.0

    async def send(self, notification: Notification) -> None:
        """See `Channel.send`. `Idempotency-Key` lets a receiver know what it has seen already."""
        body = json.dumps(asdict(notification)).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": f"{notification.task_id}-{notification.action}",
        }
        if self.secret is not None:
            timestamp = str(int(self.clock()))
            headers[TIMESTAMP_HEADER] = timestamp
            headers[SIGNATURE_HEADER] = sign(self.secret, timestamp=timestamp, body=body)
        await call(
            self.client, "POST", self.url, what="the alert webhook", content=body, headers=headers
        )
