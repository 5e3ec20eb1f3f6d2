"""Room and disruption: budgets, eviction, autoscaling, taints, quotas."""

from __future__ import annotations

import pytest

from tests.cluster import faults
from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.cluster.metrics import metrics_stub
from tests.cluster.process import wait
from tests.cluster.space import Space, condition

pytestmark = pytest.mark.usefixtures("app_images")


def budget(namespace: Space, least: int) -> None:
    """Create a disruption budget, and wait until its controller has counted the pods."""
    spec = {"minAvailable": least, "selector": {"matchLabels": {"app": "app"}}}
    namespace.create("poddisruptionbudgets", "PodDisruptionBudget", "app", spec=spec)

    def counted() -> bool:
        status = namespace.get("poddisruptionbudgets", "app").get("status", {})
        return bool(status.get("currentHealthy") == 2)

    wait("budget counted", counted, 20)


def test_budget_lets_one_pod_go_and_holds_the_next(api: Api, namespace: Space) -> None:
    """The budget's own count says before the eviction what it will answer."""
    namespace.deploy("app", "v1", replicas=2)
    namespace.wait_available("app")
    budget(namespace, least=2)
    names = [pod["metadata"]["name"] for pod in namespace.pods("app")]
    assert namespace.get("poddisruptionbudgets", "app")["status"]["disruptionsAllowed"] == 0
    refused = faults.evict(api, namespace.name, names[0])
    assert (refused.status, refused.body["reason"]) == (429, "TooManyRequests")
    api.patch(namespace.path("poddisruptionbudgets", "app"), {"spec": {"minAvailable": 1}})

    def allowed() -> bool:
        return bool(namespace.get("poddisruptionbudgets", "app")["status"]["disruptionsAllowed"] == 1)

    wait("one disruption allowed", allowed, 20)
    assert faults.evict(api, namespace.name, names[0]).status == 201
    assert faults.evict(api, namespace.name, names[1]).status == 429
    namespace.wait_available("app")
    assert names[0] not in [pod["metadata"]["name"] for pod in namespace.pods("app")]


def test_autoscaler_follows_the_metrics_and_keeps_its_minimum(api: Api, namespace: Space, own: Cluster) -> None:
    """Pods ask for 100m; at 200m each the target of 100 % wants twice as many, up to the maximum."""
    namespace.deploy("app", "v1", resources={"requests": {"cpu": "100m"}})
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 100}}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": 2,
        "maxReplicas": 4,
        "metrics": [{"type": "Resource", "resource": cpu}],
    }
    namespace.create("horizontalpodautoscalers", "HorizontalPodAutoscaler", "app", spec=spec)

    def replicas() -> int:
        return int(namespace.get("deployments", "app")["spec"]["replicas"])

    wait("minimum enforced without metrics", lambda: replicas() == 2, 20)
    namespace.wait_available("app")
    with metrics_stub(api, own.place) as stub:
        stub.millicores = 200
        wait("scaled to the maximum", lambda: replicas() == 4, 45)
    scaled = namespace.get("horizontalpodautoscalers", "app")
    assert condition(scaled, "AbleToScale")["status"] == "True"


def test_tainted_node_takes_only_pods_that_tolerate_it(api: Api, namespace: Space) -> None:
    with faults.tainted(api, "onlyvips.test/full"):
        namespace.deploy("app", "v1")
        namespace.deploy("other", "v1", pod_tolerations=[{"key": "onlyvips.test/full", "operator": "Exists"}])
        namespace.wait_available("other")
        pod = namespace.wait_pod("app", "unscheduled", lambda pod: condition(pod, "PodScheduled"))
        scheduled = condition(pod, "PodScheduled")
        assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
        assert "taint" in scheduled["message"]
    namespace.wait_available("app")


def test_request_beyond_the_node_is_unschedulable(namespace: Space) -> None:
    namespace.deploy("app", "v1", resources={"requests": {"memory": "900Gi"}})
    pod = namespace.wait_pod("app", "unscheduled", lambda pod: condition(pod, "PodScheduled"))
    assert "Insufficient memory" in condition(pod, "PodScheduled")["message"]


def test_full_quota_shows_on_the_deployment_alone(api: Api, namespace: Space) -> None:
    """There is no pod that could tell it: the Deployment says that replicas could not be created."""
    namespace.deploy("app", "v1")
    namespace.wait_available("app")
    faults.fill_quota(api, namespace.name)
    quota = namespace.path("resourcequotas", "full")
    wait("quota counted", lambda: api.get(quota).get("status", {}).get("used", {}).get("pods") == "1", 20)
    api.patch(namespace.path("deployments", "app", "scale"), {"spec": {"replicas": 2}})

    def refused() -> bool:
        found = condition(namespace.get("deployments", "app"), "ReplicaFailure")
        return found.get("status") == "True" and "exceeded quota" in found["message"]

    wait("replica refused", refused, 20)
    assert len(namespace.pods("app")) == 1
