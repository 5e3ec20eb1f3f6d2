"""What a ServiceAccount may do: rights by verb and name, tokens, and their end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import faults
from tests.cluster.api import Api, ApiRefused, Object
from tests.cluster.process import wait
from tests.cluster.space import Space

ACCOUNT = "releaser"


@pytest.fixture
def releaser(namespace: Space) -> Iterator[Api]:
    """Return a client of an account that may read one ConfigMap and list pods, with nothing but its token."""
    api = namespace.api
    namespace.create("serviceaccounts", "ServiceAccount", ACCOUNT)
    named = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get", "patch"]}
    rules: list[Object] = [named, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    namespace.create("roles", "Role", ACCOUNT, rules=rules)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace.name}
    namespace.create("rolebindings", "RoleBinding", ACCOUNT, roleRef=reference, subjects=[subject])
    for name in ("mine", "other"):
        namespace.create("configmaps", "ConfigMap", name, data={"key": name})
    wait("root certificate", lambda: namespace.get("configmaps", "kube-root-ca.crt"), 20)
    authority = namespace.get("configmaps", "kube-root-ca.crt")["data"]["ca.crt"]
    made = api.with_token(token(namespace), authority)
    wait("rights in force", lambda: made.call("GET", namespace.path("pods")).status == 200, 10)
    yield made
    made.close()


def token(namespace: Space) -> str:
    """Return a token of the account for ten minutes."""
    spec = {"spec": {"expirationSeconds": 600}}
    made: str = namespace.api.create(namespace.path("serviceaccounts", ACCOUNT, "token"), spec)["status"]["token"]
    return made


def test_right_holds_for_the_named_object_alone(releaser: Api, namespace: Space) -> None:
    assert releaser.get(namespace.path("configmaps", "mine"))["data"] == {"key": "mine"}
    releaser.patch(namespace.path("configmaps", "mine"), {"data": {"key": "changed"}})
    with pytest.raises(ApiRefused) as refused:
        releaser.get(namespace.path("configmaps", "other"))
    assert refused.value.status == 403


def test_refusal_names_user_verb_and_resource(releaser: Api, namespace: Space) -> None:
    answer = releaser.call("DELETE", namespace.path("configmaps", "mine"))
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    message = answer.body["message"]
    assert f"system:serviceaccount:{namespace.name}:{ACCOUNT}" in message
    assert "cannot delete resource" in message
    assert "configmaps" in message


def test_right_to_list_is_no_right_to_get(releaser: Api, namespace: Space) -> None:
    assert releaser.items(namespace.path("pods")) == []
    assert releaser.call("GET", namespace.path("pods", "any")).status == 403


def test_right_in_one_namespace_is_none_in_another(releaser: Api) -> None:
    assert releaser.call("GET", "/api/v1/namespaces/default/pods").status == 403


def test_access_review_tells_a_right_before_it_is_used(releaser: Api, namespace: Space) -> None:
    def allowed(verb: str, name: str) -> bool:
        attributes = {"namespace": namespace.name, "verb": verb, "resource": "configmaps", "name": name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = releaser.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        return bool(answer["status"]["allowed"])

    assert allowed("patch", "mine")
    assert not allowed("patch", "other")
    assert not allowed("delete", "mine")


def test_token_of_a_deleted_account_is_refused_within_seconds(releaser: Api, namespace: Space) -> None:
    faults.revoke(namespace.api, namespace.name, ACCOUNT)
    wait("token refused", lambda: releaser.call("GET", namespace.path("pods")).status == 401, 20)


def test_taken_away_right_ends_at_once(releaser: Api, namespace: Space) -> None:
    namespace.api.delete(namespace.path("rolebindings", ACCOUNT))
    wait("right gone", lambda: releaser.call("GET", namespace.path("pods")).status == 403, 10)


def test_call_without_a_token_is_refused(releaser: Api, namespace: Space) -> None:
    authority = namespace.get("configmaps", "kube-root-ca.crt")["data"]["ca.crt"]
    nobody = releaser.with_token("invalid", authority)
    assert nobody.call("GET", namespace.path("pods")).status == 401
    nobody.close()
