"""What pods and rollouts look like from the API: the facts by which a canary is judged unfit."""

from __future__ import annotations

import time

import pytest

from tests.cluster.api import JSON_PATCH, Api, Object
from tests.cluster.process import wait
from tests.cluster.space import (
    IMAGES,
    Space,
    condition,
    container_status,
    deployment_spec,
    rolled_out,
    waiting_reason,
)

pytestmark = pytest.mark.usefixtures("app_images")
IMAGE = "/spec/template/spec/containers/0/image"


def test_changed_image_rolls_out_and_restores_the_old_replica_set(api: Api, namespace: Space) -> None:
    """Two ReplicaSets carry the revisions; the old template again re-uses the old one."""
    namespace.deploy("app", "v1")
    namespace.wait_available("app")
    path = namespace.path("deployments", "app")

    def sets() -> dict[str, str]:
        """Return the revision number of each ReplicaSet by image."""
        found = api.items(namespace.path("replicasets"))
        number = "deployment.kubernetes.io/revision"
        return {
            entry["spec"]["template"]["spec"]["containers"][0]["image"]: entry["metadata"]["annotations"][number]
            for entry in found
        }

    guard = {"op": "test", "path": IMAGE, "value": IMAGES["v1"]}
    changed = api.patch(path, [guard, {"op": "replace", "path": IMAGE, "value": IMAGES["v2"]}], JSON_PATCH)
    assert not rolled_out(changed)
    namespace.wait_available("app")
    assert sets() == {IMAGES["v1"]: "1", IMAGES["v2"]: "2"}
    api.patch(path, [{"op": "replace", "path": IMAGE, "value": IMAGES["v1"]}], JSON_PATCH)
    namespace.wait_available("app")
    assert sets() == {IMAGES["v1"]: "3", IMAGES["v2"]: "2"}


def test_pods_of_two_revisions_differ_in_image_id(namespace: Space) -> None:
    for revision in IMAGES:
        namespace.deploy(revision, revision)
    found = {revision: namespace.wait_pod(revision, "Ready", ready) for revision in IMAGES}
    digests = {revision: container_status(pod)["imageID"] for revision, pod in found.items()}
    assert all("sha256:" in digest for digest in digests.values())
    assert digests["v1"] != digests["v2"]


def ready(pod: Object) -> bool:
    """Return whether a pod is Ready."""
    return condition(pod, "Ready").get("status") == "True"


def test_absent_image_is_a_waiting_reason(namespace: Space) -> None:
    namespace.deploy("app", "localhost/ov-app:absent")
    namespace.wait_pod("app", "image error", lambda pod: waiting_reason(pod) == "ErrImageNeverPull", 15)


def test_crash_is_a_restart_with_its_exit_code(api: Api, namespace: Space) -> None:
    namespace.deploy("app", "v1", env=[{"name": "START", "value": "fail"}])
    pod = namespace.wait_pod("app", "restart", lambda pod: container_status(pod).get("restartCount", 0) >= 1)
    state = container_status(pod)
    last = state.get("lastState", {}).get("terminated") or state["state"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    path = namespace.path("pods", pod["metadata"]["name"], "log")

    def text() -> str:
        return str(api.call("GET", path, previous=True).body.get("text", ""))

    wait("log of the ended container", lambda: "start fails on purpose" in text(), 20)


def test_memory_limit_kills_with_137(namespace: Space) -> None:
    limits = {"limits": {"memory": "48Mi"}}
    namespace.deploy("app", "v1", env=[{"name": "START", "value": "memory"}], resources=limits)

    def killed(pod: Object) -> bool:
        status = container_status(pod)
        ends = [status.get(key, {}).get("terminated", {}) for key in ("state", "lastState")]
        return any((end.get("reason"), end.get("exitCode")) == ("OOMKilled", 137) for end in ends)

    namespace.wait_pod("app", "OOMKilled", killed)


def test_pod_that_is_never_ready_ends_the_progress(namespace: Space) -> None:
    """Only the Deployment tells it, after its own deadline of 5 s; the pod itself runs."""
    spec = {**deployment_spec("app", "v1", 1, env=[{"name": "READY", "value": "no"}]), "progressDeadlineSeconds": 5}
    namespace.create("deployments", "Deployment", "app", spec=spec)

    def reason() -> str:
        return str(condition(namespace.get("deployments", "app"), "Progressing").get("reason"))

    wait("deadline exceeded", lambda: reason() == "ProgressDeadlineExceeded", 30)
    (pod,) = namespace.pods("app")
    assert container_status(pod)["restartCount"] == 0
    assert not ready(pod)


def test_pod_that_is_not_ready_is_no_ready_endpoint(api: Api, namespace: Space) -> None:
    namespace.expose("app")
    namespace.deploy("app", "v1", env=[{"name": "READY", "value": "no"}])
    namespace.wait_pod("app", "running", lambda pod: "running" in container_status(pod).get("state", {}))

    def states() -> list[bool]:
        slices = api.items(namespace.path("endpointslices"), labelSelector="kubernetes.io/service-name=app")
        return [point["conditions"]["ready"] for entry in slices for point in entry.get("endpoints") or []]

    wait("endpoint listed", lambda: states() == [False], 20)


def test_pre_stop_sleep_keeps_a_deleted_pod_serving(api: Api, namespace: Space) -> None:
    """The sleep is the API's own: the image has no shell."""
    sleep = {"preStop": {"sleep": {"seconds": 3}}}
    namespace.deploy("app", "v1", lifecycle=sleep, env=[{"name": "TERMINATE", "value": "exit"}])
    namespace.wait_available("app")
    (pod,) = namespace.pods("app")
    path = namespace.path("pods", pod["metadata"]["name"])
    begun = time.monotonic()
    api.delete(path)
    wait("pod gone", lambda: api.call("GET", path).status == 404, 20)
    assert 3 <= time.monotonic() - begun < 8


def test_log_of_a_pod_is_read_through_the_api_server(api: Api, namespace: Space) -> None:
    namespace.deploy("app", "v2")
    namespace.wait_available("app")
    (pod,) = namespace.pods("app")
    assert "revision v2 serves" in api.get(namespace.path("pods", pod["metadata"]["name"], "log"))["text"]


def test_selector_of_a_deployment_cannot_change(api: Api, namespace: Space) -> None:
    namespace.deploy("app", "v1", replicas=0)
    patch = [{"op": "replace", "path": "/spec/selector/matchLabels/app", "value": "other"}]
    assert api.call("PATCH", namespace.path("deployments", "app"), patch, JSON_PATCH).status == 422
