"""Sets everything up, from nothing or from whatever is there: cluster, images, backing, operator."""

import json
from dataclasses import dataclass

from demo import images, manifests
from demo.backing import Backing
from demo.chart import Operator
from demo.images import Images
from devcluster.progress import say
from devcluster.provider import ClusterProvider

NAMESPACE = "opsagent-demo"
WORKER = "ops-agent"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A cluster with images, Redis, sandbox and operator, ready for OpsAgentWorkers."""

    provider: ClusterProvider
    images: Images
    backing: Backing
    operator: Operator

    def apply_worker(self) -> None:
        """The sample OpsAgentWorker and the Secret it names, beside Redis and the sandbox."""
        namespace = self.backing.namespace
        self.provider.client.apply(
            manifests.secret(WORKER, namespace=namespace, values=self.backing.credentials()),
            manifests.ops_agent(namespace=namespace, image=self.images.worker_image),
        )
        # What somebody has played with since the last time is theirs, and would stay.
        defaults = json.dumps({"spec": dict.fromkeys(("paused", "pin", "replicas"))})
        patch = ("patch", "opsagentworker", WORKER, "--type=merge", "-p", defaults)
        self.provider.client.run(*patch, "-n", namespace)


def set_up(provider: ClusterProvider, *, namespace: str) -> Stage:
    """Build, start and install whatever is not there yet; `namespace` is Redis' and the sandbox's."""
    provider.create()
    built = images.publish(provider)
    say("images are in the cluster's reach")
    stage = Stage(
        provider=provider,
        images=built,
        backing=Backing(provider=provider, namespace=namespace),
        operator=Operator(provider.kubeconfig),
    )
    stage.backing.deploy(built.references)
    say("Redis and the sandbox are ready")
    stage.operator.install({"image": built.operator_values})
    say("the operator is ready")
    return stage
