"""The flags of each component, one class each, and why those that surprise are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from devcluster.pki import Pki

API_PORT = 6443


class Component(Protocol):
    """A program and how it is started."""

    @property
    def name(self) -> str: ...

    @property
    def program(self) -> Path: ...

    def flags(self) -> Mapping[str, str]:
        """By name, without dashes, as the program's own documentation lists them."""
        ...


def command(component: Component) -> list[str | Path]:
    """The command line that starts `component`."""
    return [component.program, *(f"--{name}={value}" for name, value in component.flags().items())]


@dataclass(frozen=True, kw_only=True)
class Etcd:
    """Keeps the cluster's objects. A power cut may lose them: that is what makes it quick."""

    name: ClassVar[str] = "etcd"
    program: Path
    data: Path
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}:2379"

    def flags(self) -> Mapping[str, str]:
        peer = f"http://{self.address}:2380"
        return {
            "name": "local",
            "data-dir": str(self.data),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"local={peer}",
            "unsafe-no-fsync": "true",
            "logger": "zap",
            "log-level": "warn",
        }


@dataclass(frozen=True, kw_only=True)
class KubeApiserver:
    """The API server. `advertise` is None in a cluster that no pod talks to."""

    name: ClassVar[str] = "kube-apiserver"
    program: Path
    pki: Pki
    etcd_url: str
    bind: str
    advertise: str | None = None
    service_cidr: str
    audit_policy: Path
    audit_log: Path

    def flags(self) -> Mapping[str, str]:
        pki = self.pki
        return {
            "etcd-servers": self.etcd_url,
            "bind-address": self.bind,
            "secure-port": str(API_PORT),
            "service-cluster-ip-range": self.service_cidr,
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "tls-cert-file": str(pki.certificate("apiserver")),
            "tls-private-key-file": str(pki.key("apiserver")),
            "client-ca-file": str(pki.authority),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(pki.key("service-accounts")),
            "service-account-signing-key-file": str(pki.key("service-accounts")),
            "audit-policy-file": str(self.audit_policy),
            "audit-log-path": str(self.audit_log),
            # Aggregated APIs: who the front proxy is, and how it says whom it speaks for.
            "requestheader-client-ca-file": str(pki.authority),
            "requestheader-allowed-names": "front-proxy",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": str(pki.certificate("front-proxy")),
            "proxy-client-key-file": str(pki.key("front-proxy")),
            "enable-aggregator-routing": "true",
            **self._reached_by_pods(),
        }

    def _reached_by_pods(self) -> Mapping[str, str]:
        if self.advertise is None:
            return {
                # No endpoints of the `kubernetes` Service: they may not be loopback addresses.
                "endpoint-reconciler-type": "none",
                # Fake nodes are ready from the start; nothing would take this taint off again.
                "disable-admission-plugins": "TaintNodesByCondition",
            }
        return {
            "advertise-address": self.advertise,
            "kubelet-client-certificate": str(self.pki.certificate("admin")),
            "kubelet-client-key": str(self.pki.key("admin")),
            # exec, logs and port-forward would look the node's name up otherwise.
            "kubelet-preferred-address-types": "InternalIP",
        }


@dataclass(frozen=True, kw_only=True)
class KubeControllerManager:
    """Runs the controllers, alone: no leader to elect, and no port to collide on.

    `node_leases` is False where nodes send no heartbeats: none is then taken for lost.
    """

    name: ClassVar[str] = "kube-controller-manager"
    program: Path
    pki: Pki
    kubeconfig: Path
    node_leases: bool = True

    def flags(self) -> Mapping[str, str]:
        return {
            "controllers": "*" if self.node_leases else "*,-node-lifecycle-controller",
            "kubeconfig": str(self.kubeconfig),
            "leader-elect": "false",
            "secure-port": "0",
            # The default of 20 requests/s makes the controllers' start take seconds.
            "kube-api-qps": "500",
            "kube-api-burst": "1000",
            "use-service-account-credentials": "true",
            "service-account-private-key-file": str(self.pki.key("service-accounts")),
            "root-ca-file": str(self.pki.authority),
        }


@dataclass(frozen=True, kw_only=True)
class KubeScheduler:
    """Binds pods to nodes, real or fake."""

    name: ClassVar[str] = "kube-scheduler"
    program: Path
    kubeconfig: Path

    def flags(self) -> Mapping[str, str]:
        return {
            "kubeconfig": str(self.kubeconfig),
            "leader-elect": "false",
            "secure-port": "0",
        }


@dataclass(frozen=True, kw_only=True)
class Kwok:
    """Plays the kubelet of every node: pods on them are running and ready at once."""

    name: ClassVar[str] = "kwok"
    program: Path
    kubeconfig: Path
    config: Path

    def flags(self) -> Mapping[str, str]:
        return {
            "kubeconfig": str(self.kubeconfig),
            "config": str(self.config),
            "manage-all-nodes": "true",
            "node-lease-duration-seconds": "0",
        }
