"""Certificates of a test cluster: one authority, a certificate for every client, no tokens, no unchecked TLS."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.cluster.place import NODE_NAME, Place
from tests.cluster.shell import run

DAYS = "30"
EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "node": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "traefik": "/CN=gateway:traefik",
    "contour": "/CN=gateway:contour",
    "metrics": "/CN=metrics-server",
}
METRICS_HOST = "metrics.kube-system.svc"
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def make(place: Place) -> None:
    """Make all certificates and kubeconfigs that do not exist yet."""
    folder = place.state / "pki"
    folder.mkdir(exist_ok=True, mode=0o700)
    if not (folder / "ca.crt").exists():
        authority = ("-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-subj", f"/CN={place.name}")
        run("openssl", "req", "-x509", *EC_KEY, "-days", DAYS, *authority)
        run("openssl", "genrsa", "-out", folder / "sa.key", "2048")
    addresses = ",".join(f"IP:{ip}" for ip in (place.node_ip, "127.0.0.1", place.first_service_ip))
    names = ",".join(f"DNS:{name}" for name in API_NAMES)
    _certificate(folder, "apiserver", "/CN=kube-apiserver", f"{addresses},{names}")
    _certificate(folder, "kubelet", f"/CN={NODE_NAME}", f"IP:{place.node_ip},DNS:{NODE_NAME}")
    _certificate(folder, "metrics-serving", "/CN=metrics-server", f"DNS:{METRICS_HOST}")
    _certificate(folder, "front-proxy", "/CN=front-proxy")
    _certificate(folder, "apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet")
    for name, subject in CLIENTS.items():
        _certificate(folder, name, subject)
        _kubeconfig(place, folder, name)


def _certificate(folder: Path, name: str, subject: str, names: str = "") -> None:
    key, certificate, request = (folder / f"{name}.{ending}" for ending in ("key", "crt", "csr"))
    if certificate.exists():
        return
    extensions = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if names:
        extensions.append(f"subjectAltName={names}")
    described = folder / f"{name}.ext"
    described.write_text("\n".join(extensions) + "\n")
    run("openssl", "req", "-new", *EC_KEY, "-keyout", key, "-out", request, "-subj", subject)
    signer = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial")
    run("openssl", "x509", "-req", "-in", request, *signer, "-days", DAYS, "-extfile", described, "-out", certificate)
    key.chmod(0o600)


def _kubeconfig(place: Place, folder: Path, name: str) -> None:
    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    user = {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": place.name,
        "contexts": [{"name": place.name, "context": {"cluster": place.name, "user": name}}],
        "clusters": [
            {"name": place.name, "cluster": {"server": place.api, "certificate-authority-data": data("ca.crt")}}
        ],
        "users": [{"name": name, "user": user}],
    }
    file = place.client(name)
    file.touch(mode=0o600)
    file.write_text(json.dumps(content))
