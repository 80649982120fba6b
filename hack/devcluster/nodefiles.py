"""The configuration files of what runs on the node, and why the lines that surprise are there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.netns import Subnets

CNI_PLUGINS = Path("/usr/lib/cni")
PAUSE_IMAGE = "localhost/pause:1"
REGISTRY_PORT = 5000
DNS_READY_PORT = 8181


def containerd_socket(state: Path) -> Path:
    """Where the containerd of the cluster with this state folder listens."""
    return state / "containerd" / "containerd.sock"


@dataclass(frozen=True, kw_only=True)
class NodeFiles:
    """Writes the files into `state` and says where they are."""

    state: Path
    subnets: Subnets
    cgroup: str
    """The control group of the cluster, below the root of every hierarchy."""

    @property
    def registry(self) -> str:
        """Host and port of the registry, as image references begin with it."""
        return f"{self.subnets.node}:{REGISTRY_PORT}"

    def containerd(self, *, shim: Path) -> Path:
        """Containerd's own (TOML, version 3), the network's, and whom to trust as a registry."""
        cni, hosts = self.state / "cni" / "net.d", self.state / "registry-hosts"
        self._write("cni/net.d/10-pods.conflist", json.dumps(self._pod_network(), indent=2))
        self._write(
            f"registry-hosts/{self.registry}/hosts.toml",
            f'[host."http://{self.registry}"]\ncapabilities = ["pull", "resolve"]\n',
        )
        return self._write(
            "containerd/config.toml",
            f"""\
version = 3
root = "{self.state}/containerd/root"
state = "{self.state}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"] # it would write to /opt

[grpc]
address = "{containerd_socket(self.state)}"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "{hosts}"

[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE a lower score than our own cannot be set, and every sandbox would fail.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{cni}"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{shim}"
""",
        )

    def kubelet(self, *, client_ca: Path) -> Path:
        """KubeletConfiguration, for control groups of either version and a shared disk."""
        self._write("resolv.conf", f"nameserver {self.subnets.dns_service}\n")
        return self._write_object(
            "kubelet.json",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(client_ca)},
                },
                "authorization": {"mode": "Webhook"},
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{self.cgroup}",
                "failCgroupV1": False,
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{containerd_socket(self.state)}",
                "clusterDomain": "cluster.local",
                "clusterDNS": [self.subnets.dns_service],
                "resolvConf": str(self.state / "resolv.conf"),
                "enforceNodeAllocatable": [],
                # A developer's disk is allowed to be full; pods are not to suffer for it.
                "evictionHard": {
                    "imagefs.available": "0%",
                    "nodefs.available": "0%",
                    "memory.available": "50Mi",
                },
                "imageGCHighThresholdPercent": 100,
                "localStorageCapacityIsolation": False,
                "podLogsDir": str(self.state / "pod-logs"),
                "volumePluginDir": str(self.state / "volume-plugins"),
                # Changed Secrets and ConfigMaps reach pods within seconds, not within a minute.
                "syncFrequency": "10s",
            },
        )

    def kube_proxy(self, *, kubeconfig: Path, node: str) -> Path:
        return self._write_object(
            "kube-proxy.json",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "iptables",
                "clientConnection": {"kubeconfig": str(kubeconfig)},
                "clusterCIDR": str(self.subnets.pods),
                "hostnameOverride": node,
                # These would be settings of the whole machine.
                "conntrack": {"maxPerCore": 0},
                "iptables": {"minSyncPeriod": "100ms"},
            },
        )

    def coredns(self, *, kubeconfig: Path) -> Path:
        return self._write(
            "Corefile",
            f"""\
.:53 {{
    bind {self.subnets.node}
    errors
    ready {self.subnets.node}:{DNS_READY_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
    cache 5
}}
""",
        )

    def registry_config(self) -> Path:
        return self._write_object(
            "registry.json",
            {
                "version": 0.1,
                "storage": {
                    "filesystem": {"rootdirectory": str(self.state / "registry")},
                    "delete": {"enabled": True},
                },
                "http": {"addr": self.registry},
                "log": {"level": "warn", "accesslog": {"disabled": True}},
            },
        )

    def _pod_network(self) -> dict[str, Any]:
        """A cable for each pod and a route over it: no bridge, so no rules that a bridge skips."""
        addresses = {
            "type": "host-local",
            "dataDir": str(self.state / "cni" / "addresses"),
            "ranges": [[{"subnet": str(self.subnets.pods)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        return {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {"type": "ptp", "ipam": addresses},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }

    def _write_object(self, name: str, value: dict[str, Any]) -> Path:
        return self._write(name, json.dumps(value, indent=2))  # JSON is YAML too

    def _write(self, name: str, text: str) -> Path:
        path = self.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
