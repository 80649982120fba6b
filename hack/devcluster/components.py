"""The flags of each component, one class each, and why those that surprise are there."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from devcluster.pki import Pki

API_PORT = 6443


class Component(ABC):
    """A program of the cluster and how it is started."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """The command line, program first."""


@dataclass(frozen=True, kw_only=True)
class Flagged(Component):
    """A component that is told everything by `--name=value` flags."""

    program: Path

    @abstractmethod
    def flags(self) -> Mapping[str, str]:
        """By name, without dashes, as the program's own documentation lists them."""

    @property
    def command(self) -> list[str]:
        return [str(self.program), *(f"--{name}={value}" for name, value in self.flags().items())]


@dataclass(frozen=True, kw_only=True)
class Etcd(Flagged):
    """Keeps the cluster's objects. A power cut may lose them: that is what makes it quick."""

    name: ClassVar[str] = "etcd"
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
class KubeApiserver(Flagged):
    """The API server. `advertise` is None in a cluster that no pod talks to."""

    name: ClassVar[str] = "kube-apiserver"
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
class KubeControllerManager(Flagged):
    """Runs the controllers, alone: no leader to elect, and no port to collide on.

    `node_leases` is False where nodes send no heartbeats: none is then taken for lost.
    """

    name: ClassVar[str] = "kube-controller-manager"
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
class KubeScheduler(Flagged):
    """Binds pods to nodes, real or fake."""

    name: ClassVar[str] = "kube-scheduler"
    kubeconfig: Path

    def flags(self) -> Mapping[str, str]:
        return {
            "kubeconfig": str(self.kubeconfig),
            "leader-elect": "false",
            "secure-port": "0",
        }


@dataclass(frozen=True, kw_only=True)
class Kwok(Flagged):
    """Plays the kubelet of every node: pods on them are running and ready at once."""

    name: ClassVar[str] = "kwok"
    kubeconfig: Path
    config: Path

    def flags(self) -> Mapping[str, str]:
        return {
            "kubeconfig": str(self.kubeconfig),
            "config": str(self.config),
            "manage-all-nodes": "true",
            "node-lease-duration-seconds": "0",
        }


@dataclass(frozen=True, kw_only=True)
class Containerd(Component):
    """Runs containers; everything is in its configuration file."""

    name: ClassVar[str] = "containerd"
    program: Path
    config: Path

    @property
    def command(self) -> list[str]:
        return [str(self.program), "--config", str(self.config)]


@dataclass(frozen=True, kw_only=True)
class Kubelet(Flagged):
    """Runs the node's pods."""

    name: ClassVar[str] = "kubelet"
    config: Path
    kubeconfig: Path
    node: str
    address: str
    data: Path

    def flags(self) -> Mapping[str, str]:
        return {
            "config": str(self.config),
            "kubeconfig": str(self.kubeconfig),
            "hostname-override": self.node,
            "node-ip": self.address,
            "root-dir": str(self.data),
        }


@dataclass(frozen=True, kw_only=True)
class KubeProxy(Flagged):
    """Makes service addresses lead to pods."""

    name: ClassVar[str] = "kube-proxy"
    config: Path

    def flags(self) -> Mapping[str, str]:
        return {"config": str(self.config)}


@dataclass(frozen=True, kw_only=True)
class Coredns(Component):
    """Answers for the names of services; for no others, as nothing leads outside."""

    name: ClassVar[str] = "coredns"
    program: Path
    config: Path

    @property
    def command(self) -> list[str]:
        return [str(self.program), "-conf", str(self.config)]


@dataclass(frozen=True, kw_only=True)
class Registry(Component):
    """Holds images, so that the node pulls them and their digests are real."""

    name: ClassVar[str] = "registry"
    program: Path
    config: Path

    @property
    def command(self) -> list[str]:
        return [str(self.program), "serve", str(self.config)]
