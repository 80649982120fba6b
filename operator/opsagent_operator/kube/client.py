"""The few requests that the operator makes, as plain JSON in and out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import ApiClient

from opsagent_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from opsagent_operator.kube.errors import Unavailable, error_from_status
from opsagent_operator.kube.login import USER_AGENT, load_configuration

__all__ = [
    "CONTROLLER_REVISIONS",
    "DEPLOYMENTS",
    "DISRUPTION_BUDGETS",
    "EVENTS",
    "FIELD_MANAGER",
    "PODS",
    "SECRETS",
    "WORKERS",
    "Kube",
    "Resource",
]

FIELD_MANAGER: Final = "opsagent-operator"
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, and where the API server keeps it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str | None = None, subresource: str | None = None) -> str:
        """The path of the collection in `namespace`, of an object, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, "namespaces", namespace, self.plural, name, subresource]
        return "/".join(part for part in parts if part is not None)


WORKERS: Final = Resource(GROUP, VERSION, PLURAL, "OpsAgentWorker")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
CONTROLLER_REVISIONS: Final = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PODS: Final = Resource("", "v1", "pods", "Pod")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
EVENTS: Final = Resource("", "v1", "events", "Event")


class Kube:
    """A client of the API server. Every method raises a `KubeError` when it fails.

    `timeout` is for a whole request, in seconds. `on_response` is told method and status of each
    answer, for metrics; a request without an answer has status "<error>", as in client-go.
    """

    def __init__(self, *, timeout: float, on_response: Callable[[str, str], None]) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._on_response = on_response
        self._client: ApiClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call] # not annotated there
            self._client = None

    async def get(self, resource: Resource, *, namespace: str, name: str) -> dict[str, Any]:
        return await self._request("GET", resource.path(namespace, name))

    async def api_resources(self, resource: Resource) -> frozenset[str]:
        """Names (plural) of what is served in the resource's group and version; empty if nothing is.

        Raises:
            NotFound: the group or version is not served.
        """
        answer = await self._request("GET", f"/apis/{resource.api_version}")
        return frozenset(entry["name"] for entry in answer["resources"])

    async def apply(self, resource: Resource, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply.

        After it, every field in `manifest` holds, and none is left that an earlier apply had set
        and this one does not.
        """
        metadata = manifest["metadata"]
        return await self._request(
            "PATCH",
            resource.path(metadata["namespace"], metadata["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return await self._request(
            "POST",
            resource.path(manifest["metadata"]["namespace"]),
            query={"fieldManager": FIELD_MANAGER},
            body=manifest,
        )

    async def merge(
        self,
        resource: Resource,
        patch: Mapping[str, Any],
        *,
        namespace: str,
        name: str,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Change only the fields in `patch` of an object that exists (RFC 7386: null removes)."""
        return await self._request(
            "PATCH",
            resource.path(namespace, name, subresource),
            query={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type=_MERGE,
        )

    async def delete(
        self, resource: Resource, *, namespace: str, name: str, uid: str | None = None
    ) -> None:
        """Delete an object, its own children in the background; only the one with `uid`, if given."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        await self._request("DELETE", resource.path(namespace, name), body=body)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        status = "<error>"
        try:
            client = await self._logged_in()
            # The generated methods of kubernetes.aio answer with models; manifests, status and
            # cache are plain JSON, so only the client's login and transport are used.
            _, url, headers, _, _ = await client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                auth_settings=["BearerToken"],
            )
            response = await client.call_api(
                method, url, header_params=headers, body=body, _request_timeout=self._timeout
            )
            payload = await response.read()  # type: ignore[no-untyped-call] # not annotated there
            status = str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{method} {path}: {str(error) or type(error).__name__}") from error
        finally:
            self._on_response(method, status)
        if response.status == 401:  # noqa: PLR2004 - an HTTP status
            await self.close()  # the next request logs in anew
        try:
            answer: dict[str, Any] = json.loads(payload)
        except ValueError:
            answer = {}
        if response.status >= 400:  # noqa: PLR2004 - an HTTP status
            raise error_from_status(response.status, answer)
        return answer

    async def _logged_in(self) -> ApiClient:
        if self._client is None:
            configuration = await load_configuration()
            if self._client is None:
                self._client = ApiClient(configuration)
                self._client.user_agent = USER_AGENT
        return self._client
