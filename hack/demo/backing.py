"""Redis and the sandbox: what the queue lives in, and what tasks reach out to."""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from demo import manifests
from devcluster.failure import ClusterError
from devcluster.kubectl import forwarded
from devcluster.provider import ClusterProvider

SANDBOX_PORT = 8080
REDIS_PORT = 6379
VERCEL_TEAM = "team_demo"


@dataclass(frozen=True, kw_only=True)
class Backing:
    """Both, in one namespace of a cluster."""

    provider: ClusterProvider
    namespace: str

    def deploy(self, images: Mapping[str, str]) -> None:
        """Bring both up, or up to date; returns when they are ready.

        `images` has the references of `opsagent-redis` and `opsagent-worker`.
        """
        kubectl = self.provider.client
        kubectl.apply(manifests.namespace(self.namespace))
        if self._password() is None:
            password = {"REDIS_PASSWORD": secrets.token_hex(16)}
            kubectl.apply(manifests.secret("redis", namespace=self.namespace, values=password))
        program = (manifests.HERE / "sandbox.py").read_text()
        kubectl.apply(
            manifests.config_map(
                "sandbox", namespace=self.namespace, files={"sandbox.py": program}
            ),
            *manifests.placed(
                [*manifests.load("redis"), *manifests.load("sandbox")],
                namespace=self.namespace,
                images=images,
            ),
        )
        for name in ("redis", "sandbox"):
            wait = ("rollout", "status", f"deployment/{name}", "--timeout=120s")
            kubectl.run(*wait, "-n", self.namespace, timeout=130)

    def credentials(self) -> Mapping[str, str]:
        """What a worker in any namespace needs to know, as the environment variables it reads."""
        host = f"redis.{self.namespace}.svc.cluster.local"
        return {
            "REDIS_URL": f"redis://:{self._password()}@{host}:{REDIS_PORT}/0",
            "VERCEL_TOKEN": "demo-token-of-no-value",
            "VERCEL_TEAM_ID": VERCEL_TEAM,
            "SLACK_WEBHOOK_URL": f"{self.sandbox_url}/slack/ops-agent-alerts",
        }

    @property
    def sandbox_url(self) -> str:
        """As pods of any namespace reach it."""
        return f"http://sandbox.{self.namespace}.svc.cluster.local:{SANDBOX_PORT}"

    @contextmanager
    def redis(self) -> "Iterator[Redis]":
        """A client of this process, through a forwarded port: works wherever kubectl does."""
        with (
            forwarded(
                self.provider.client, "svc/redis", port=REDIS_PORT, namespace=self.namespace
            ) as port,
            Redis(
                host="127.0.0.1",
                port=port,
                password=self._password(),
                decode_responses=True,
                socket_timeout=10,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
            ) as client,
        ):
            yield client

    def journal(self) -> list[Mapping[str, Any]]:
        """What the sandbox has seen, oldest first."""
        found: list[Mapping[str, Any]] = json.loads(self._get("journal"))
        return found

    def open_gate(self, name: str) -> None:
        """Let every request go on that is held at this gate, now and later."""
        self._get(f"open/{name}")

    def _get(self, path: str) -> str:
        """What the sandbox answers, asked through the API server."""
        service = f"services/sandbox:{SANDBOX_PORT}/proxy/{path}"
        raw = f"--raw=/api/v1/namespaces/{self.namespace}/{service}"
        return self.provider.client.run("get", raw)

    def _password(self) -> str | None:
        try:
            found = self.provider.client.read("get", "secret", "redis", "-n", self.namespace)
        except ClusterError:
            return None
        return base64.b64decode(found["data"]["REDIS_PASSWORD"]).decode()
