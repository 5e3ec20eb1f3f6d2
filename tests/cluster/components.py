"""The arguments and configuration files of every component."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.images import PAUSE
from tests.cluster.machine import CNI_PLUGINS
from tests.cluster.place import NODE_NAME, Place

Words = list[str]
ETCD = "http://127.0.0.1:2379"


def etcd(place: Place) -> Words:
    """Return the command of etcd. It does not sync to disk: the state is worth nothing after a power cut."""
    peers = "http://127.0.0.1:2380"
    words = ["etcd", "--data-dir", str(place.state / "etcd"), "--unsafe-no-fsync", "--logger", "zap"]
    words += ["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]
    words += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
    return [*words, "--initial-cluster", f"default={peers}"]


def containerd(place: Place) -> Words:
    """Write containerd's configuration and return its command."""
    file = place.state / "containerd.toml"
    file.write_text(
        f"""version = 2
root = "{place.state}/containerd"
state = "{place.run}/containerd"
[grpc]
  address = "{place.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{place.state}/cni"
"""
    )
    subnet = {"subnet": place.pods}
    addresses = {
        "type": "host-local",
        "dataDir": str(place.state / "ipam"),
        "ranges": [[subnet]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "loopback"}]
    network = {"cniVersion": "0.4.0", "name": place.name, "plugins": plugins}
    (place.state / "cni" / "10.conflist").write_text(json.dumps(network))
    return ["containerd", "-c", str(file)]


def api_server(place: Place, node: Path) -> Words:
    """Return the command of the API server."""
    pki = place.state / "pki"
    headers = ["username-headers=X-Remote-User", "group-headers=X-Remote-Group"]
    return [
        str(node),
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--bind-address={place.node_ip}",
        f"--advertise-address={place.node_ip}",
        "--secure-port=6443",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-cluster-ip-range={place.services}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.key",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy",
        *(f"--requestheader-{header}" for header in headers),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--enable-aggregator-routing=true",
    ]


def controller_manager(place: Place, node: Path) -> Words:
    """Return the command of the controller manager, with an autoscaler that looks often."""
    pki = place.state / "pki"
    return [
        str(node),
        "kube-controller-manager",
        f"--kubeconfig={place.client('controller-manager')}",
        f"--service-account-private-key-file={pki}/sa.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--root-ca-file={pki}/ca.crt",
        "--bind-address=127.0.0.1",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--horizontal-pod-autoscaler-sync-period=3s",
        "--horizontal-pod-autoscaler-downscale-stabilization=15s",
    ]


def scheduler(place: Place, node: Path) -> Words:
    """Return the command of the scheduler."""
    words = [f"--kubeconfig={place.client('scheduler')}", "--leader-elect=false", "--bind-address=127.0.0.1"]
    return [str(node), "kube-scheduler", *words]


def kubelet(place: Place, node: Path) -> Words:
    """Write the kubelet's configuration and return its command."""
    pki = place.state / "pki"
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{place.name}",
        "failSwapOn": False,
        "failCgroupV1": False,
        "containerRuntimeEndpoint": f"unix://{place.socket}",
        "address": place.node_ip,
        "healthzPort": 0,
        "resolvConf": "",
        "podLogsDir": f"{place.state}/pods",
        "volumePluginDir": f"{place.state}/plugins",
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi"},
        "imageMinimumGCAge": "24h",
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
    }
    file = place.state / "kubelet.yaml"
    file.write_text(json.dumps(content))
    words = [f"--config={file}", f"--kubeconfig={place.client('node')}", f"--root-dir={place.state}/kubelet"]
    return [str(node), "kubelet", *words, f"--hostname-override={NODE_NAME}", f"--node-ip={place.node_ip}"]


def proxy(place: Place, node: Path) -> Words:
    """Return the command of kube-proxy. It leaves the machine's connection table alone."""
    words = [f"--kubeconfig={place.client('proxy')}", f"--hostname-override={NODE_NAME}", "--proxy-mode=iptables"]
    words += ["--masquerade-all", f"--cluster-cidr={place.pods}", "--conntrack-max-per-core=0"]
    return [str(node), "kube-proxy", *words, "--metrics-bind-address=127.0.0.1:10249"]


def metrics_server(place: Place, program: Path) -> Words:
    """Return the command of the metrics server."""
    pki = place.state / "pki"
    files = [f"--{word}kubeconfig={place.client('metrics')}" for word in ("", "authentication-", "authorization-")]
    return [
        str(program),
        *files,
        f"--bind-address={place.node_ip}",
        "--secure-port=4443",
        f"--tls-cert-file={pki}/metrics-serving.crt",
        f"--tls-private-key-file={pki}/metrics-serving.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    ]
