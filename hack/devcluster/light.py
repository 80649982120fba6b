"""Light mode: an API server with its controllers and fake nodes, on a loopback address of its own.

No root, no namespace: an address of 127.0.0.0/8 for each cluster keeps them apart, so that the
ports can be the usual ones.
"""

from typing import Any

from devcluster import audit, gobuild
from devcluster.apiserver import ApiServer
from devcluster.components import (
    API_PORT,
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kwok,
)
from devcluster.failure import ClusterError
from devcluster.instance import Instance
from devcluster.listening import listens
from devcluster.pki import Pki
from devcluster.roster import Roster

SERVICE_CIDR = "10.96.0.0/16"
FAKE_NODES = 3
START_TIMEOUT = 90.0
"""Seconds until a step fails: more than ten times what a busy machine with two cores needs."""


def start(instance: Instance) -> ApiServer:
    """Start `instance` in its state folder, which is empty; returns when it serves."""
    built = gobuild.build(gobuild.LIGHT)
    address, state = instance.loopback, instance.state
    _expect_free(address)

    pki = Pki(state / "pki")
    pki.create(server_names=["localhost", "kubernetes.default.svc", address])
    api = ApiServer(f"https://{address}:{API_PORT}", pki)
    users = {
        "admin": instance.kubeconfig,
        "controller-manager": state / "controller-manager.kubeconfig",
        "scheduler": state / "scheduler.kubeconfig",
    }
    for user, path in users.items():
        pki.write_kubeconfig(path, user=user, server=api.url, context=instance.label)
    audit.write_policy(state / "audit-policy.json")

    roster = Roster(state=state)
    etcd = Etcd(program=built["etcd"], data=state / "etcd", address=address)
    roster.start(etcd)
    apiserver = KubeApiserver(
        program=built["kube-apiserver"],
        pki=pki,
        etcd_url=etcd.url,
        bind=address,
        service_cidr=SERVICE_CIDR,
        audit_policy=state / "audit-policy.json",
        audit_log=state / "audit.log",
    )
    roster.start(apiserver)
    roster.wait(apiserver.name, api.ready, what="the API server to be ready", seconds=START_TIMEOUT)
    manager = KubeControllerManager(
        program=built["kube-controller-manager"],
        pki=pki,
        kubeconfig=users["controller-manager"],
        node_leases=False,
    )
    roster.start(manager)
    roster.start(KubeScheduler(program=built["kube-scheduler"], kubeconfig=users["scheduler"]))
    kwok = Kwok(
        program=built["kwok"],
        kubeconfig=users["admin"],
        config=gobuild.HACK / "kwok" / "stages.yaml",
    )
    roster.start(kwok)
    for number in range(FAKE_NODES):
        name = f"fake-{number}"
        api.apply(f"/api/v1/nodes/{name}", fake_node(name))
    roster.wait(
        manager.name, api.default_account_exists, what="service accounts", seconds=START_TIMEOUT
    )
    roster.wait(
        kwok.name,
        lambda: api.ready_nodes() == FAKE_NODES,
        what="the fake nodes to be ready",
        seconds=START_TIMEOUT,
    )
    return api


def fake_node(name: str) -> dict[str, Any]:
    """The manifest of a node that kwok plays, with room for a thousand pods."""
    size = {"cpu": "256", "memory": "1Ti", "pods": "1000"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"type": "kwok", "kubernetes.io/hostname": name}},
        "status": {"allocatable": size, "capacity": size},
    }


def _expect_free(address: str) -> None:
    if listens(address, API_PORT):
        raise ClusterError(
            f"Something else listens on {address}:{API_PORT}, where this cluster's API server "
            f"belongs: stop it (`ss -ltnp` shows what it is), or use a clone with another path."
        )
