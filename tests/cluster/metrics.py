"""The resource metrics API: a stub whose figures a test sets, and its registration in the API server."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.cluster.api import Api, Object
from tests.cluster.place import Place
from tests.cluster.process import wait

GROUP = "metrics.k8s.io"
REGISTRATION = f"/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.{GROUP}"
SERVICES = "/api/v1/namespaces/kube-system/services/metrics"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/metrics"


RBAC = "rbac.authorization.k8s.io"
RULES = [
    {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
]
"""What the metrics server reads."""

READER = f"/apis/{RBAC}/v1/namespaces/kube-system/roles/extension-apiserver-authentication-reader"
"""The role by which it learns whom the API server trusts; the API server makes it a moment after its start."""


def allow_server(api: Api) -> None:
    """Give the metrics server its rights: it ends at its start without them."""
    user = {"subjects": [{"apiGroup": RBAC, "kind": "User", "name": "metrics-server"}]}
    base, described = f"/apis/{RBAC}/v1", {"apiVersion": f"{RBAC}/v1", "metadata": {"name": "metrics-server"}}
    api.apply(f"{base}/clusterroles/metrics-server", {**described, "kind": "ClusterRole", "rules": RULES})
    for name, role in (("metrics-server", "metrics-server"), ("metrics-server-delegator", "system:auth-delegator")):
        binding = {**described, **user, "kind": "ClusterRoleBinding", "metadata": {"name": name}}
        binding["roleRef"] = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
        api.apply(f"{base}/clusterrolebindings/{name}", binding)
    reader = {**described, **user, "kind": "RoleBinding"}
    reader["metadata"] = {"name": "metrics-server", "namespace": "kube-system"}
    reader["roleRef"] = {"apiGroup": RBAC, "kind": "Role", "name": "extension-apiserver-authentication-reader"}
    api.apply(f"{base}/namespaces/kube-system/rolebindings/metrics-server", reader)


def register(api: Api, place: Place, address: str, port: int) -> None:
    """Let the API server answer for metrics.k8s.io with what a server at this address says."""
    authority = base64.b64encode((place.state / "pki" / "ca.crt").read_bytes()).decode()
    metadata = {"name": "metrics", "namespace": "kube-system"}
    service = {"ports": [{"name": "https", "port": 443, "targetPort": port}]}
    api.apply(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
    endpoints: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "metrics"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": port}],
        "endpoints": [{"addresses": [address]}],
    }
    api.apply(SLICES, endpoints)
    spec = {
        "group": GROUP,
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"name": "metrics", "namespace": "kube-system"},
        "caBundle": authority,
    }
    body = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1beta1.{GROUP}"},
        "spec": spec,
    }
    api.apply(REGISTRATION, body)
    wait("metrics API available", lambda: _available(api), 60)


def _available(api: Api) -> bool:
    conditions = api.get(REGISTRATION).get("status", {}).get("conditions", [])
    return any(entry["type"] == "Available" and entry["status"] == "True" for entry in conditions)


class MetricsStub:
    """Serves the same CPU and memory for every pod that the API server has."""

    def __init__(self, api: Api, place: Place) -> None:
        self.api, self.millicores, self.mebibytes = api, 100, 64
        stub = self

        class Handler(BaseHTTPRequestHandler):
            """Answers the paths that the API server and the autoscaler ask for."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Answer one request."""
                data = json.dumps(stub.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Write no log."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki = place.state / "pki"
        context.load_cert_chain(pki / "metrics-serving.crt", pki / "metrics-serving.key")
        self.server = ThreadingHTTPServer((place.host_ip, 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    @property
    def port(self) -> int:
        """Return the port where it listens."""
        return int(self.server.server_address[1])

    def answer(self, target: str) -> Object:
        """Return the body for one request target."""
        parts = urlsplit(target)
        words = parts.path.strip("/").split("/")
        if "namespaces" not in words:
            resource = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["list"]}
            version = f"{GROUP}/v1beta1"
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [resource]}
        namespace = words[words.index("namespaces") + 1]
        selector = unquote(parse_qs(parts.query).get("labelSelector", [""])[0])
        pods = self.api.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
        return {
            "kind": "PodMetricsList",
            "apiVersion": f"{GROUP}/v1beta1",
            "metadata": {},
            "items": [self._usage(pod) for pod in pods],
        }

    def _usage(self, pod: Object) -> Object:
        usage = {"cpu": f"{self.millicores}m", "memory": f"{self.mebibytes}Mi"}
        names = ("name", "namespace", "labels")
        return {
            "metadata": {key: pod["metadata"].get(key) for key in names},
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "window": "10s",
            "containers": [{"name": entry["name"], "usage": usage} for entry in pod["spec"]["containers"]],
        }


@contextmanager
def metrics_stub(api: Api, place: Place) -> Iterator[MetricsStub]:
    """Serve resource metrics for as long as the block runs."""
    stub = MetricsStub(api, place)
    thread = threading.Thread(target=stub.server.serve_forever, name="metrics-stub")
    thread.start()
    try:
        register(api, place, place.host_ip, stub.port)
        yield stub
    finally:
        api.delete(REGISTRATION)
        api.delete(SERVICES)
        stub.server.shutdown()
        thread.join()
        stub.server.server_close()
