"""A namespace for one test, and the objects that tests put there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.cluster.api import Api, Object
from tests.cluster.place import ClusterError
from tests.cluster.process import wait

LABEL = "onlyvips-release.test/run"
IMAGES = {revision: f"localhost/ov-app:{revision}" for revision in ("v1", "v2")}
PORT = 8000
GROUPS = {
    "configmaps": "/api/v1",
    "events": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "pods": "/api/v1",
    "resourcequotas": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "services": "/api/v1",
    "controllerrevisions": "/apis/apps/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "leases": "/apis/coordination.k8s.io/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
}


class Space:
    """One namespace."""

    def __init__(self, api: Api, name: str) -> None:
        self.api, self.name = api, name

    def path(self, resource: str, name: str = "", part: str = "") -> str:
        """Return the path of a collection, an object, or a subresource such as `status`."""
        whole = f"{GROUPS[resource]}/namespaces/{self.name}/{resource}"
        return "/".join([whole, *(word for word in (name, part) if word)])

    def create(self, resource: str, kind: str, name: str, **fields: object) -> Object:
        """Create an object of which `fields` are the parts beside metadata, for example `spec`."""
        return self.api.create(self.path(resource), self.body(resource, kind, name, **fields))

    def body(self, resource: str, kind: str, name: str, **fields: object) -> Object:
        """Return an object's body."""
        version = GROUPS[resource].removeprefix("/apis/").removeprefix("/api/")
        metadata = {"name": name, "namespace": self.name}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}

    def get(self, resource: str, name: str) -> Object:
        """Return an object."""
        return self.api.get(self.path(resource, name))

    def pods(self, app: str) -> list[Object]:
        """Return the pods of a deployment that are not being deleted."""
        found = self.api.items(self.path("pods"), labelSelector=f"app={app}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def deploy(self, app: str, revision: str, replicas: int = 1, **more: object) -> Object:
        """Create a Deployment of the test service; `more` changes its container or, by `pod_...`, its pods."""
        spec = deployment_spec(app, revision, replicas, **more)
        return self.create("deployments", "Deployment", app, spec=spec)

    def expose(self, app: str) -> None:
        """Create a Service of a deployment."""
        ports = [{"name": "http", "port": 80, "targetPort": PORT}]
        self.create("services", "Service", app, spec={"selector": {"app": app}, "ports": ports})

    def route(self, gateway: str, host: str, weights: dict[str, int]) -> Object:
        """Create an HTTPRoute that splits a host's requests between Services."""
        backends = [{"name": name, "port": 80, "weight": weight} for name, weight in weights.items()]
        parents = [{"name": gateway, "namespace": "ov-gateways"}]
        spec = {"parentRefs": parents, "hostnames": [host], "rules": [{"backendRefs": backends}]}
        return self.create("httproutes", "HTTPRoute", host.split(".", maxsplit=1)[0], spec=spec)

    def wait_available(self, app: str, seconds: float = 30) -> Object:
        """Wait until all replicas of the newest generation are available; return the Deployment."""
        wait(f"{app} available", lambda: rolled_out(self.get("deployments", app)), seconds, self._check(app))
        return self.get("deployments", app)

    def wait_pod(self, app: str, what: str, test: Callable[[Object], object], seconds: float = 30) -> Object:
        """Wait until one pod of a deployment passes a test; return it."""
        found: list[Object] = []

        def look() -> bool:
            found[:] = [pod for pod in self.pods(app) if test(pod)]
            return bool(found)

        wait(f"{what} in a pod of {app}", look, seconds)
        return found[0]

    def _check(self, app: str) -> Callable[[], None]:
        def check() -> None:
            for pod in self.pods(app):
                if reason := waiting_reason(pod):
                    raise ClusterError(f"pod {pod['metadata']['name']}: {reason}")

        return check


def deployment_spec(app: str, revision: str, replicas: int, **more: object) -> Object:
    """Return a Deployment's spec; keys beginning with `pod_` go to the pod, all others to the container."""
    labels = {"app": app}
    container: Object = {
        "name": "app",
        "image": IMAGES.get(revision, revision),
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": PORT}, "periodSeconds": 1},
    }
    pod: Object = {"terminationGracePeriodSeconds": 5, "containers": [container]}
    for key, value in more.items():
        (pod if key.startswith("pod_") else container)[key.removeprefix("pod_")] = value
    return {
        "replicas": replicas,
        "progressDeadlineSeconds": 10,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def rolled_out(deployment: Object) -> bool:
    """Return whether a rollout is complete: the rule of `kubectl rollout status`."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
    current: bool = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return current and counts == [wanted] * 3


def container_status(pod: Object) -> Object:
    """Return the status of a pod's only container, empty when there is none yet."""
    found: list[Object] = pod.get("status", {}).get("containerStatuses", [{}])
    return found[0]


def waiting_reason(pod: Object) -> str:
    """Return why a pod's container cannot start, an empty text when it can."""
    reason = str(container_status(pod).get("state", {}).get("waiting", {}).get("reason", ""))
    return "" if reason in ("", "ContainerCreating", "PodInitializing") else reason


def condition(found: Object, kind: str) -> Object:
    """Return one condition of an object, empty when there is none."""
    conditions: list[Object] = found.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), {})


def delete_namespace(api: Api, name: str) -> None:
    """Delete a namespace that tests have made; refuse every other one."""
    labels = api.get(f"/api/v1/namespaces/{name}")["metadata"].get("labels", {})
    if LABEL not in labels:
        raise ClusterError(f"namespace {name} has no label {LABEL}: it was not made by these tests and is not deleted")
    api.delete(f"/api/v1/namespaces/{name}")


@contextmanager
def space(api: Api, run: str) -> Iterator[Space]:
    """Make a namespace, and have it deleted afterwards."""
    name = f"ov-{secrets.token_hex(4)}"
    metadata = {"name": name, "labels": {LABEL: run}}
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    try:
        made = Space(api, name)
        wait("ServiceAccount of the namespace", lambda: made.get("serviceaccounts", "default"), 20)
        yield made
    finally:
        delete_namespace(api, name)
