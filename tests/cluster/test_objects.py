"""How the API server treats writes: patches, subresources, versions, dry runs, apply, limits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.api import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Api, Object
from tests.cluster.place import ClusterError
from tests.cluster.process import wait
from tests.cluster.space import Space, delete_namespace, deployment_spec

CLIENTS = 20
WEIGHTS = "/spec/rules/0/backendRefs"


@pytest.fixture
def route(namespace: Space, gateway_api: None) -> str:
    """Return the path of an HTTPRoute with weights 100 and 0 and the fence 1."""
    namespace.route("none", "shop.test", {"stable": 100, "canary": 0})
    path = namespace.path("httproutes", "shop")
    namespace.api.patch(path, {"metadata": {"annotations": {"fence": "1"}}})
    return path


def weights(api: Api, path: str) -> list[int]:
    """Return the weights of a route."""
    return [backend["weight"] for backend in api.get(path)["spec"]["rules"][0]["backendRefs"]]


def shift(weight: int, *guards: Object) -> list[Object]:
    """Return a JSON patch that sets both weights after its guards."""
    pairs = enumerate((100 - weight, weight))
    writes = [{"op": "replace", "path": f"{WEIGHTS}/{index}/weight", "value": value} for index, value in pairs]
    return [*guards, *writes]


def test_json_patch_with_a_true_test_is_applied(api: Api, route: str) -> None:
    fence = {"op": "test", "path": "/metadata/annotations/fence", "value": "1"}
    api.patch(route, shift(10, fence), JSON_PATCH)
    assert weights(api, route) == [90, 10]


@pytest.mark.parametrize(
    "guard",
    [
        {"op": "test", "path": "/metadata/annotations/fence", "value": "2"},
        {"op": "test", "path": f"{WEIGHTS}/1/name", "value": "other"},
        {"op": "replace", "path": "/spec/rules/7/name", "value": "absent"},
    ],
    ids=["another fence", "another backend", "no such path"],
)
def test_json_patch_with_a_false_test_is_refused_whole(api: Api, route: str, guard: Object) -> None:
    answer = api.call("PATCH", route, shift(10, guard), JSON_PATCH)
    assert answer.status == 422
    assert weights(api, route) == [100, 0]


def test_stale_version_in_a_json_patch_is_a_conflict(api: Api, route: str) -> None:
    version = {"op": "replace", "path": "/metadata/resourceVersion"}
    before = api.get(route)["metadata"]["resourceVersion"]
    api.patch(route, shift(5), JSON_PATCH)
    answer = api.call("PATCH", route, shift(10, {**version, "value": before}), JSON_PATCH)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    api.patch(route, shift(10, {**version, "value": api.get(route)["metadata"]["resourceVersion"]}), JSON_PATCH)
    assert weights(api, route) == [90, 10]


def test_equal_patch_changes_no_generation(api: Api, route: str) -> None:
    first = api.patch(route, shift(10), JSON_PATCH)["metadata"]
    second = api.patch(route, shift(10), JSON_PATCH)["metadata"]
    assert (second["generation"], second["resourceVersion"]) == (first["generation"], first["resourceVersion"])


def test_strategic_patch_of_a_custom_resource_is_not_supported(api: Api, route: str) -> None:
    assert api.call("PATCH", route, {"spec": {}}, STRATEGIC_PATCH).status == 415


def test_weight_below_zero_is_refused(api: Api, route: str) -> None:
    assert api.call("PATCH", route, shift(101), JSON_PATCH).status == 422


def test_status_subresource_takes_status_alone(api: Api, namespace: Space) -> None:
    namespace.create("deployments", "Deployment", "one", spec=deployment_spec("one", "v1", 0))
    path = namespace.path("deployments", "one")
    before = api.get(path)
    changed = api.patch(f"{path}/status", {"spec": {"replicas": 3}, "status": {"collisionCount": 7}})
    assert changed["spec"]["replicas"] == 0
    assert changed["status"]["collisionCount"] == 7
    assert changed["metadata"]["generation"] == before["metadata"]["generation"]
    api.patch(path, {"status": {"collisionCount": 9}})
    assert api.get(path)["status"]["collisionCount"] == 7


def test_generation_of_a_route_rises_with_its_spec_alone(api: Api, route: str) -> None:
    before = api.get(route)["metadata"]["generation"]
    assert api.patch(route, {"metadata": {"annotations": {"fence": "2"}}})["metadata"]["generation"] == before
    assert api.patch(route, shift(10), JSON_PATCH)["metadata"]["generation"] == before + 1


def test_generation_of_a_deployment_rises_with_annotations_too(api: Api, namespace: Space) -> None:
    namespace.create("deployments", "Deployment", "one", spec=deployment_spec("one", "v1", 0))
    path = namespace.path("deployments", "one")
    before = api.patch(path, {"metadata": {"labels": {"note": "x"}}})["metadata"]["generation"]
    assert api.patch(path, {"metadata": {"annotations": {"note": "x"}}})["metadata"]["generation"] == before + 1
    assert api.patch(path, {"spec": {"minReadySeconds": 1}})["metadata"]["generation"] == before + 2


def test_scale_subresource_changes_replicas_alone(api: Api, namespace: Space) -> None:
    namespace.create("deployments", "Deployment", "one", spec=deployment_spec("one", "v1", 0))
    api.patch(namespace.path("deployments", "one", "scale"), {"spec": {"replicas": 0}})
    found = api.patch(namespace.path("deployments", "one", "scale"), {"spec": {"replicas": 2}})
    assert (found["kind"], found["spec"]["replicas"]) == ("Scale", 2)
    assert namespace.get("deployments", "one")["spec"]["replicas"] == 2


def test_dry_run_on_the_server_validates_and_keeps_nothing(api: Api, namespace: Space) -> None:
    collection = namespace.path("deployments")
    body = namespace.body("deployments", "Deployment", "one", spec=deployment_spec("one", "v1", 1))
    planned = api.create(collection, body, dryRun="All")
    assert planned["spec"]["strategy"]["type"] == "RollingUpdate"
    assert api.call("GET", f"{collection}/one").status == 404
    body["spec"]["template"]["spec"]["containers"][0]["image"] = ""
    assert api.call("POST", collection, body, dryRun="All").status == 422


def test_unknown_field_is_refused_by_strict_validation(api: Api, namespace: Space) -> None:
    body = namespace.body("deployments", "Deployment", "one", spec={**deployment_spec("one", "v1", 1), "weight": 1})
    answer = api.call("POST", namespace.path("deployments"), body, fieldValidation="Strict", dryRun="All")
    assert answer.status == 400
    assert "weight" in answer.body["message"]


def test_apply_conflicts_with_another_manager_unless_forced(api: Api, namespace: Space) -> None:
    path = namespace.path("configmaps", "one")
    body = namespace.body("configmaps", "ConfigMap", "one", data={"key": "first"})
    api.patch(path, body, APPLY_PATCH, fieldManager="one")
    other = {**body, "data": {"key": "second"}}
    answer = api.call("PATCH", path, other, APPLY_PATCH, fieldManager="two")
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert "one" in answer.body["message"]
    assert api.patch(path, other, APPLY_PATCH, fieldManager="two", force=True)["data"] == {"key": "second"}


def test_routes_rules_are_one_field_for_apply(api: Api, route: str, namespace: Space) -> None:
    api.patch(route, shift(10), JSON_PATCH, fieldManager="release")
    body = namespace.body("httproutes", "HTTPRoute", "shop", spec={"rules": [{"name": "mine"}]})
    answer = api.call("PATCH", route, body, APPLY_PATCH, fieldManager="other")
    assert answer.status == 409
    assert ".spec.rules" in answer.body["message"]


def test_put_with_an_old_version_is_a_conflict(api: Api, namespace: Space) -> None:
    old = namespace.create("configmaps", "ConfigMap", "one", data={"key": "0"})
    path = namespace.path("configmaps", "one")
    api.patch(path, {"data": {"key": "1"}})
    answer = api.call("PUT", path, {**old, "data": {"key": "2"}})
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert api.get(path)["data"] == {"key": "1"}


def test_record_is_added_only_where_none_is(api: Api, namespace: Space) -> None:
    namespace.create("configmaps", "ConfigMap", "journal", data={"000001": "first"})
    path = namespace.path("configmaps", "journal")

    def append(number: str, text: str) -> int:
        entry = f"/data/{number}"
        guard: Object = {"op": "test", "path": entry, "value": None}
        return api.call("PATCH", path, [guard, {"op": "add", "path": entry, "value": text}], JSON_PATCH).status

    assert append("000002", "second") == 200
    assert append("000002", "another second") == 422
    assert api.get(path)["data"] == {"000001": "first", "000002": "second"}


def test_immutable_config_cannot_be_changed(api: Api, namespace: Space) -> None:
    namespace.create("configmaps", "ConfigMap", "one", data={"key": "1"}, immutable=True)
    assert api.call("PATCH", namespace.path("configmaps", "one"), {"data": {"key": "2"}}, MERGE_PATCH).status == 422


def test_object_of_more_than_a_mebibyte_is_refused(api: Api, namespace: Space) -> None:
    body = namespace.body("configmaps", "ConfigMap", "one", data={"key": "x" * ((1 << 20) + 1)})
    answer = api.call("POST", namespace.path("configmaps"), body)
    assert answer.status == 422
    assert "Too long" in answer.body["message"]


def test_second_creation_tells_that_the_object_exists(api: Api, namespace: Space) -> None:
    body = namespace.create("configmaps", "ConfigMap", "one", data={})
    fresh = {key: body[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": "one"}}
    answer = api.call("POST", namespace.path("configmaps"), fresh)
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")


def test_objects_of_a_deleted_owner_are_deleted(api: Api, namespace: Space) -> None:
    owner = namespace.create("configmaps", "ConfigMap", "owner", data={})
    metadata = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    body = namespace.body("configmaps", "ConfigMap", "child", data={})
    body["metadata"]["ownerReferences"] = [{**metadata, "blockOwnerDeletion": True}]
    api.create(namespace.path("configmaps"), body)
    api.delete(namespace.path("configmaps", "owner"), "Foreground")
    wait("owner and child deleted", lambda: api.call("GET", namespace.path("configmaps", "child")).status == 404, 30)
    wait("owner deleted", lambda: api.call("GET", namespace.path("configmaps", "owner")).status == 404, 30)


def test_one_of_twenty_clients_creates_the_lease(api: Api, namespace: Space) -> None:
    def create(number: int) -> int:
        body = namespace.body("leases", "Lease", "release", spec={"holderIdentity": f"client-{number}"})
        return api.call("POST", namespace.path("leases"), body).status

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = sorted(pool.map(create, range(CLIENTS)))
    assert statuses == [201] + [409] * (CLIENTS - 1)


def test_one_of_twenty_clients_takes_an_expired_lease_over(api: Api, namespace: Space) -> None:
    """Five races: in each, all clients have read the same version and write their own name."""
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 0}
    namespace.create("leases", "Lease", "release", spec=spec)
    path = namespace.path("leases", "release")
    for race in range(1, 6):
        seen = api.get(path)

        def take(number: int, seen: Object = seen, race: int = race) -> int:
            mine = {**seen["spec"], "holderIdentity": f"client-{number}", "leaseTransitions": race}
            return api.call("PUT", path, {**seen, "spec": mine}).status

        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = list(pool.map(take, range(CLIENTS)))
        assert sorted(statuses) == [200] + [409] * (CLIENTS - 1)
        assert api.get(path)["spec"]["holderIdentity"] == f"client-{statuses.index(200)}"


def test_namespace_without_our_label_is_never_deleted(api: Api) -> None:
    with pytest.raises(ClusterError, match="not deleted"):
        delete_namespace(api, "default")
    assert api.get("/api/v1/namespaces/default")["status"]["phase"] == "Active"
