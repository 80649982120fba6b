"""What the running operator does for one object."""

import json

import pytest

from devcluster.kubectl import Kubectl
from fixtures.redis import RedisServer
from integration.operator.world import WORKER, World, eventually
from opsagent_operator.kube.login import WATCH_USER_AGENT

pytestmark = pytest.mark.integration


def test_an_object_gets_a_revision_and_a_deployment_that_it_owns(world: World) -> None:
    world.create()
    world.until_condition("Ready", "True")

    worker = world.worker()
    for kind in ("controllerrevisions", "deploy"):
        (child,) = world.get(kind)
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (worker["metadata"]["uid"], True)
    assert worker["status"]["observedGeneration"] == worker["metadata"]["generation"]
    assert "finalizers" not in worker["metadata"]
    assert "annotations" not in worker["metadata"]


def test_replicas_follow_the_queue_up_and_down(world: World) -> None:
    world.create()
    world.until_condition("Ready", "True")
    world.enqueue(3)
    world.until_replicas({"v1.0.0": 3})
    world.clear_queue()
    world.until_replicas({"v1.0.0": 0})
    assert {"RevisionCreated", "Promoted", "ScaledUp"} <= {reason for reason, _ in world.events()}


def test_a_new_version_takes_over_and_the_old_one_comes_back_as_it_was(world: World) -> None:
    world.create(replicas=2)
    world.until_replicas({"v1.0.0": 2})
    (first,) = world.get("deploy")

    world.patch(version="v1.1.0")
    world.until_replicas({"v1.0.0": 0, "v1.1.0": 2})

    world.patch(version="v1.0.0")
    world.until_replicas({"v1.0.0": 2, "v1.1.0": 0})
    again = next(
        deployment
        for deployment in world.get("deploy")
        if deployment["metadata"]["name"] == first["metadata"]["name"]
    )
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["spec"]["template"] == first["spec"]["template"]
    assert len(world.get("controllerrevisions")) == 2


def test_a_version_without_an_image_leaves_the_old_one_serving(world: World) -> None:
    world.create(replicas=2)
    world.until_condition("Ready", "True", "Running")
    world.patch(version="v2.0.0-missing")
    problem = world.until_condition("Ready", "False", "ImagePullFailed")
    assert "v2.0.0-missing" in problem["message"]
    assert world.condition("Available")["status"] == "True"
    assert world.replicas() == {"v1.0.0": 2, "v2.0.0-missing": 1}


def test_pausing_closes_the_intake_and_takes_the_workers_down(world: World) -> None:
    world.create(replicas=2)
    world.until_replicas({"v1.0.0": 2})

    async def is_paused(queue: object) -> bool:
        return bool((await queue.snapshot()).paused)  # type: ignore[attr-defined] # a TaskQueue

    world.patch(paused=True)
    world.until_replicas({"v1.0.0": 0})
    assert world.with_queue(is_paused)

    world.patch(paused=False)
    world.until_replicas({"v1.0.0": 2})
    eventually(lambda: not world.with_queue(is_paused))


def test_a_redis_that_is_back_is_noticed_without_waiting_for_the_next_look(
    idle_world: World, redis_server: RedisServer
) -> None:
    world = idle_world
    world.operator.configure(OPSAGENT_ACTIVE_POLL="3600", OPSAGENT_IDLE_POLL="3600")
    world.operator.start()
    world.operator.wait_until_ready()
    world.create()
    world.until_condition("Ready", "True")
    redis_server.kill()
    world.run("label", "oaw", WORKER, "look=now")
    world.until_condition("QueueReachable", "False", "ConnectionFailed")
    redis_server.start()
    world.until_condition("QueueReachable", "True")


def test_a_missing_secret_is_named_and_the_queue_is_read_once_it_is_there(world: World) -> None:
    (secret,) = world.kubectl.read("-n", world.namespace, "get", "secret")["items"]
    world.run("delete", "secret", "redis")
    world.create()
    problem = world.until_condition("QueueReachable", "False", "SecretNotFound")
    assert "redis" in problem["message"]
    del secret["metadata"]["resourceVersion"], secret["metadata"]["uid"]
    secret["metadata"].pop("managedFields", None)
    world.kubectl.apply(secret)
    world.until_condition("QueueReachable", "True")


def test_an_object_that_has_settled_is_visited_without_any_write(world: World) -> None:
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")
    eventually(lambda: _written_by_a_visit(world) == 0)
    with world.writes() as writes:
        for _ in range(5):
            _written_by_a_visit(world)
    assert writes == []


def test_kopf_never_writes(world: World) -> None:
    with world.writes(agent=WATCH_USER_AGENT) as writes:
        for number in range(10):
            world.create(f"worker-{number}")
        for number in range(10):
            world.until_condition("Ready", "True", name=f"worker-{number}")
        world.patch("worker-0", paused=True)
        world.until_condition("Paused", "True", name="worker-0")
        world.run("delete", "oaw", "--all")
    assert writes == []


def test_a_deployment_that_was_changed_by_hand_is_set_back(world: World) -> None:
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")
    (before,) = world.get("deploy")
    name = before["metadata"]["name"]

    container = {"name": "worker", "image": "example.com/other:1"}
    patch = {"spec": {"replicas": 5, "template": {"spec": {"containers": [container]}}}}
    world.run("patch", "deploy", name, "--type=strategic", "-p", json.dumps(patch))

    def set_back() -> bool:
        (now,) = world.get("deploy")
        return bool(now["spec"] == before["spec"])

    eventually(set_back)
    told = eventually(
        lambda: [text for reason, text in world.events() if reason == "DriftCorrected"]
    )
    assert "spec.replicas" in told[0]
    assert "containers[worker].image" in told[0]


def test_a_deployment_that_was_deleted_by_hand_is_made_again(world: World) -> None:
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")
    world.run("delete", "deploy", "--all")
    world.until_replicas({"v1.0.0": 1})


def test_what_the_api_server_refuses_is_told_in_the_status(world: World) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": world.namespace},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    world.kubectl.apply(quota)
    eventually(lambda: world.get("resourcequota")[0].get("status", {}).get("used") is not None)
    world.create()
    problem = world.until_condition("Ready", "False", "ApplyFailed")
    assert "exceeded quota" in problem["message"]

    world.run("delete", "resourcequota", "none")
    world.patch(replicas=1)  # a change is visited at once, whatever the back-off has come to
    world.until_replicas({"v1.0.0": 1})
    world.until_condition("Ready", "True")


def test_kubectl_scale_is_obeyed_and_status_writes_leave_it_alone(world: World) -> None:
    world.create()
    world.until_condition("Ready", "True")
    world.run("scale", f"oaw/{WORKER}", "--replicas=4")
    world.until_replicas({"v1.0.0": 4})
    eventually(lambda: world.worker()["status"]["ready"] == "4/4")
    assert world.worker()["spec"]["replicas"] == 4


def test_deleting_an_object_deletes_its_children(world: World) -> None:
    world.create(replicas=2)
    world.until_condition("Ready", "True", "Running")
    world.run("delete", "oaw", WORKER, "--timeout=20s")
    for kind in ("deploy", "controllerrevisions", "pods"):
        eventually(lambda kind=kind: world.get(kind) == [])  # type: ignore[misc] # bound at once


def test_deleting_an_object_deletes_its_children_without_the_operator(world: World) -> None:
    world.create(replicas=2)
    world.until_condition("Ready", "True", "Running")
    world.operator.kill()
    world.run("delete", "oaw", WORKER, "--timeout=20s")
    for kind in ("deploy", "controllerrevisions", "pods"):
        eventually(lambda kind=kind: world.get(kind) == [])  # type: ignore[misc] # bound at once


def test_an_object_that_is_created_anew_at_once_gets_children_of_its_own(world: World) -> None:
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")
    world.run("delete", "oaw", WORKER, "--timeout=20s")
    world.create(replicas=2)
    uid = world.worker()["metadata"]["uid"]

    def adopted() -> bool:
        return [
            [owner["uid"] for owner in child["metadata"]["ownerReferences"]]
            for kind in ("deploy", "controllerrevisions")
            for child in world.get(kind)
        ] == [[uid], [uid]]

    eventually(adopted)
    world.until_replicas({"v1.0.0": 2})
    world.until_condition("Ready", "True", "Running")


def test_a_namespace_with_an_object_can_be_deleted(world: World) -> None:
    world.create(replicas=2)
    world.until_condition("Ready", "True", "Running")
    world.kubectl.run("delete", "namespace", world.namespace, "--timeout=60s")
    assert world.operator.get("/healthz").status_code == 200
    kubectl: Kubectl = world.kubectl
    kubectl.run("create", "namespace", world.namespace)  # for the fixture to delete


def test_the_operator_serves_all_namespaces_when_none_is_named(world: World) -> None:
    world.operator.stop()
    world.operator.configure(OPSAGENT_WATCH_NAMESPACES="")
    world.operator.start()
    world.create(replicas=1)
    world.until_condition("Ready", "True", "Running")


def _written_by_a_visit(world: World) -> float:
    """How much the operator writes when it looks at the object, as it must after a change that means nothing."""

    def visits() -> float:
        return world.operator.metric("controller_runtime_reconcile_total")

    def patches() -> float:
        return world.operator.metric("rest_client_requests_total", method="PATCH")

    visited, patched = visits(), patches()
    world.run("annotate", "oaw", WORKER, f"look={visited}", "--overwrite")
    eventually(lambda: visits() > visited)
    return patches() - patched
