"""What users do with OpsAgentWorkers, over the API and with kubectl."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes.client import CustomObjectsApi
from kubernetes.client.exceptions import ApiException

from devcluster.kubectl import Kubectl
from opsagent_operator.api.v1alpha1 import GROUP, PLURAL, VERSION


@dataclass(frozen=True)
class Refusal:
    """One reason for which the API server refused an object."""

    field: str
    message: str


@dataclass(frozen=True)
class Api:
    """A namespace of a real API server that has the definition installed."""

    kubectl: Kubectl
    objects: CustomObjectsApi
    namespace: str

    def create(self, worker: Mapping[str, Any]) -> Any:
        """`worker` as it is stored now."""
        return self._post(worker)

    def admitted(self, worker: Mapping[str, Any]) -> Any:
        """`worker` as the API server would store it; nothing is stored.

        Raises:
            ApiException: the API server refuses it.
        """
        return self._post(worker, dry_run="All")

    def refusals(self, worker: Mapping[str, Any]) -> list[Refusal]:
        """Why the API server refuses `worker`."""
        with pytest.raises(ApiException) as refused:
            self.admitted(worker)
        status = json.loads(refused.value.body or "")
        assert status["reason"] == "Invalid", status["message"]
        return [
            Refusal(field=cause["field"], message=cause["message"])
            for cause in status["details"]["causes"]
        ]

    def get(self, name: str) -> Any:
        return self.objects.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURAL, name
        )

    def write_status(self, name: str, status: Mapping[str, Any]) -> Any:
        return self.objects.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, PLURAL, name, {"status": status}
        )

    def run(self, *arguments: str) -> str:
        """What kubectl prints in the namespace.

        Raises:
            ClusterError: kubectl failed; the message holds what it complained about.
        """
        return self.kubectl.run("--namespace", self.namespace, *arguments)

    def _post(self, worker: Mapping[str, Any], *, dry_run: str | None = None) -> Any:
        return self.objects.create_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            dict(worker),
            dry_run=dry_run,
            field_validation="Strict",
        )
