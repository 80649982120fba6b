"""Node mode: a whole Kubernetes with one real node, in namespaces of its own."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import audit, cgroups, debian, gobuild, netns, sandbox
from devcluster.apiserver import ApiServer
from devcluster.components import (
    API_PORT,
    Component,
    Containerd,
    Coredns,
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    Kubelet,
    KubeProxy,
    KubeScheduler,
    Registry,
)
from devcluster.failure import ClusterError
from devcluster.instance import Instance
from devcluster.listening import answers
from devcluster.netns import Subnets
from devcluster.nodefiles import (
    DNS_READY_PORT,
    PAUSE_IMAGE,
    REGISTRY_PORT,
    NodeFiles,
    containerd_socket,
)
from devcluster.ociarchive import write_image
from devcluster.pki import Pki
from devcluster.progress import say
from devcluster.roster import Roster

NODE = "local"
START_TIMEOUT = 120.0
"""Seconds until a step fails: more than ten times what a busy machine with two cores needs."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What the steps of a start share, and the steps."""

    instance: Instance
    subnets: Subnets
    built: Mapping[str, Path]
    system: Mapping[str, Path]
    roster: Roster

    @property
    def pki(self) -> Pki:
        return Pki(self.instance.state / "pki")

    @property
    def api(self) -> ApiServer:
        return ApiServer(f"https://{self.subnets.node}:{API_PORT}", self.pki)

    @property
    def files(self) -> NodeFiles:
        return NodeFiles(
            state=self.instance.state, subnets=self.subnets, cgroup=self.instance.label
        )

    def create_credentials(self) -> None:
        names = ["kubernetes.default.svc", "localhost", "127.0.0.1"]
        self.pki.create(
            server_names=[*names, self.subnets.node, self.subnets.api_service], node=NODE
        )
        for user in ("admin", "controller-manager", "scheduler", "kubelet", "kube-proxy"):
            self.pki.write_kubeconfig(
                self.kubeconfig(user), user=user, server=self.api.url, context=self.instance.label
            )

    def kubeconfig(self, user: str) -> Path:
        if user == "admin":
            return self.instance.kubeconfig
        return self.instance.state / f"{user}.kubeconfig"

    def start_stores(self) -> Etcd:
        """Start etcd, registry and containerd: they need nothing before them."""
        etcd = Etcd(
            program=self.built["etcd"], data=self.instance.state / "etcd", address="127.0.0.1"
        )
        shim = self.built["containerd-shim-runc-v2"]
        for component in (
            etcd,
            Registry(program=self.system["docker-registry"], config=self.files.registry_config()),
            Containerd(program=self.built["containerd"], config=self.files.containerd(shim=shim)),
        ):
            self.roster.start(component)
        return etcd

    def start_control_plane(self, etcd: Etcd) -> None:
        state = self.instance.state
        audit.write_policy(state / "audit-policy.json")
        apiserver = KubeApiserver(
            program=self.built["kube-apiserver"],
            pki=self.pki,
            etcd_url=etcd.url,
            bind="0.0.0.0",  # noqa: S104 - every address of its own namespace
            advertise=self.subnets.node,
            service_cidr=str(self.subnets.services),
            audit_policy=state / "audit-policy.json",
            audit_log=state / "audit.log",
        )
        self.roster.start(apiserver)
        self._wait(apiserver, self.api.ready, "the API server to be ready")
        manager = KubeControllerManager(
            program=self.built["kube-controller-manager"],
            pki=self.pki,
            kubeconfig=self.kubeconfig("controller-manager"),
        )
        scheduler = KubeScheduler(
            program=self.built["kube-scheduler"], kubeconfig=self.kubeconfig("scheduler")
        )
        self.roster.start(manager)
        self.roster.start(scheduler)
        self._wait(manager, self.api.default_account_exists, "service accounts")

    def start_node(self) -> None:
        self._import_pause()
        kubelet = Kubelet(
            program=self.built["kubelet"],
            config=self.files.kubelet(client_ca=self.pki.authority),
            kubeconfig=self.kubeconfig("kubelet"),
            node=NODE,
            address=self.subnets.node,
            data=self.instance.state / "kubelet",
        )
        proxy = KubeProxy(
            program=self.built["kube-proxy"],
            config=self.files.kube_proxy(kubeconfig=self.kubeconfig("kube-proxy"), node=NODE),
        )
        coredns = Coredns(
            program=self.built["coredns"],
            config=self.files.coredns(kubeconfig=self.kubeconfig("admin")),
        )
        for component in (kubelet, proxy, coredns):
            self.roster.start(component)
        for path, manifest in dns_service(self.subnets).items():
            self.api.apply(path, manifest)
        node = self.subnets.node
        self._wait(kubelet, lambda: self.api.ready_nodes() == 1, "the node to be ready")
        self._wait(coredns, lambda: answers(node, DNS_READY_PORT, "/ready"), "DNS")
        self._wait(Registry, lambda: answers(node, REGISTRY_PORT, "/v2/"), "the registry")

    def _import_pause(self) -> None:
        self._wait(
            Containerd, containerd_socket(self.instance.state).is_socket, "containerd's socket"
        )
        archive = self.instance.state / "pause.tar"
        write_image(archive, program=self.built["pause"], name=PAUSE_IMAGE)
        import_image(self.instance, archive)

    def _wait(
        self, component: Component | type[Component], holds: Callable[[], bool], what: str
    ) -> None:
        self.roster.wait(component.name, holds, what=what, seconds=START_TIMEOUT)


def start(instance: Instance) -> Node:
    """Start `instance` in its state folder, which is empty; returns when pods can run."""
    system = debian.ensure(debian.NODE)
    built = gobuild.build(gobuild.NODE)
    cgroups.create(instance.label)
    subnets = netns.create(instance)
    path = os.pathsep.join([str(built["containerd"].parent), "/usr/sbin:/usr/bin:/sbin:/bin"])
    roster = sandbox.create(instance, pause=built["pause"], environment={"PATH": path})
    node = Node(instance=instance, subnets=subnets, built=built, system=system, roster=roster)
    node.create_credentials()
    etcd = node.start_stores()
    say("starting the control plane")
    node.start_control_plane(etcd)
    say("starting the node")
    node.start_node()
    return node


def import_image(instance: Instance, archive: Path) -> None:
    """Give the node the image of an OCI archive, under the name that is in there."""
    ctr = gobuild.build([gobuild.CTR])["ctr"]
    address = containerd_socket(instance.state)
    done = subprocess.run(
        [ctr, "--address", address, "--namespace", "k8s.io", "images", "import", archive],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"containerd does not take {archive.name}: {done.stderr.strip()}")


def dns_service(subnets: Subnets) -> dict[str, dict[str, Any]]:
    """The Service `kube-dns` and what it leads to: CoreDNS, which runs beside the pods."""
    port = {"name": "dns", "port": 53, "protocol": "UDP"}
    ports = [port, {**port, "name": "dns-tcp", "protocol": "TCP"}]
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    service = {"kubernetes.io/service-name": "kube-dns"}
    return {
        "/api/v1/namespaces/kube-system/services/kube-dns": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": subnets.dns_service, "ports": ports},
        },
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns": {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": service},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [subnets.node], "conditions": {"ready": True}}],
            "ports": ports,
        },
    }
