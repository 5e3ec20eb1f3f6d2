"""A real one-node Kubernetes cluster: start, stop, remove and describe it."""

from __future__ import annotations

import calendar
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import build, components, gateways, images, machine, metrics, pki
from tests.cluster.api import Api
from tests.cluster.place import NODE_NAME, ClusterError, Place, cache_root
from tests.cluster.process import DAEMONS, Daemons, end_all, in_namespace, proportional_size, wait
from tests.cluster.shell import run

FOLDERS = ("", "cni", "etcd", "kubelet", "log", "pid", "plugins", "pods", "bin")
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass
class Times:
    """Seconds since `up` began."""

    begun: float = field(default_factory=time.monotonic)
    moments: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        """Note that something is done."""
        self.moments[name] = time.monotonic() - self.begun


class Cluster:
    """One cluster of this machine, of which everything was started here."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.daemons = Daemons(place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let only one command at a time change this cluster."""
        cache_root().mkdir(parents=True, exist_ok=True)
        with (cache_root() / f"cluster-{self.place.slot}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def api(self) -> Api:
        """Return a client with the administrator's rights."""
        return Api.from_kubeconfig(self.place.kubeconfig)

    def up(self, *, with_gateways: bool = True, with_metrics: bool = False, throttle: str = "") -> Times:
        """Start what does not run; return when each part was ready."""
        if missing := machine.missing_parts():
            raise ClusterError(missing)
        node = build.binary(build.NODE)
        metrics_server = build.binary(build.METRICS_SERVER) if with_metrics else None
        if with_gateways:
            build.binary(build.CONTOUR)
        with self._alone():
            times = Times()
            self._prepare(node)
            times.mark("network and certificates")
            self._start_control_plane(node)
            times.mark("API server")
            since = self._start_node(node)
            times.mark("started")
            self._wait_for_node(since)
            times.mark("node")
            if with_gateways:
                with self._connected() as api:
                    gateways.install(api)
                gateways.start(self.daemons, throttle)
                times.mark("gateways")
            if metrics_server:
                self._start_metrics_server(metrics_server)
                times.mark("metrics")
            return times

    @contextmanager
    def _connected(self) -> Iterator[Api]:
        api = self.api()
        try:
            yield api
        finally:
            api.close()

    def _prepare(self, node: Path) -> None:
        place = self.place
        for name in FOLDERS:
            (place.state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        place.run.mkdir(exist_ok=True, mode=0o700)
        machine.save_kernel_settings(place)
        machine.make_network(place)
        machine.make_cgroups(place)
        self.daemons.start("etcd", *components.etcd(place))
        self.daemons.start("containerd", *components.containerd(place))
        pki.make(place)
        kubectl = place.state / "bin" / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec "{node}" kubectl "$@"\n')
        kubectl.chmod(0o755)

    def _start_control_plane(self, node: Path) -> None:
        place, daemons = self.place, self.daemons
        daemons.start("kube-apiserver", *components.api_server(place, node))
        self._load_pause()
        with self._connected() as api:
            wait("API server ready", api.ready, 90, lambda: daemons.require("etcd", "kube-apiserver"))
        daemons.start("kube-controller-manager", *components.controller_manager(place, node))
        daemons.start("kube-scheduler", *components.scheduler(place, node))

    def _load_pause(self) -> None:
        ctr = ("ctr", "-a", self.place.socket)
        wait("containerd ready", lambda: run(*ctr, "version"), 30, lambda: self.daemons.require("containerd"))
        if images.PAUSE not in run(*ctr, "-n", "k8s.io", "images", "ls", "-q").split():
            images.load(self.place, images.pause())

    def _start_node(self, node: Path) -> float:
        """Start what runs on the node; return the moment after which its status must have been reported."""
        since = 0.0 if self.daemons.running("kubelet") else time.time()
        self.daemons.start("kubelet", *components.kubelet(self.place, node))
        self.daemons.start("kube-proxy", *components.proxy(self.place, node))
        return since

    def _wait_for_node(self, since: float) -> None:
        with self._connected() as api:
            wait(
                "node Ready",
                lambda: node_ready(api, since),
                60,
                lambda: self.daemons.require("kubelet", "containerd", "kube-apiserver"),
            )
            wait("default ServiceAccount", lambda: api.get("/api/v1/namespaces/default/serviceaccounts/default"), 30)

    def _start_metrics_server(self, program: Path) -> None:
        with self._connected() as api:
            wait("roles of the API server", lambda: api.get(metrics.READER), 30)
            metrics.allow_server(api)
            self.daemons.start("metrics-server", *components.metrics_server(self.place, program))
            metrics.register(api, self.place, self.place.node_ip, 4443)
            path = "/apis/metrics.k8s.io/v1beta1/nodes"
            wait("metrics of the node", lambda: api.items(path), 60, lambda: self.daemons.require("metrics-server"))

    def stop(self) -> None:
        """End all processes; state stays, and the next `up` goes on with it."""
        with self._alone():
            if self.place.state.exists():
                for name in ("kubelet", *reversed(DAEMONS)):
                    if name not in ("etcd", "containerd"):
                        self.daemons.stop(name)
                end_all(machine.pod_processes(self.place))
                for name in ("containerd", "etcd"):
                    self.daemons.stop(name)
            machine.end_processes(self.place)
            machine.release(self.place)

    def down(self) -> None:
        """End all processes and remove the state; nothing is left of the cluster."""
        with self._alone():
            machine.end_processes(self.place)
            machine.release(self.place)
            machine.remove_files(self.place)

    def restart(self, name: str) -> None:
        """Start a component again that has ended or was killed."""
        place, node = self.place, build.binary(build.NODE, build=False)
        words = {
            "etcd": lambda: components.etcd(place),
            "containerd": lambda: components.containerd(place),
            "kube-apiserver": lambda: components.api_server(place, node),
            "kube-controller-manager": lambda: components.controller_manager(place, node),
            "kube-scheduler": lambda: components.scheduler(place, node),
            "kubelet": lambda: components.kubelet(place, node),
            "kube-proxy": lambda: components.proxy(place, node),
        }
        if name in words:
            self.daemons.start(name, *words[name]())
        elif name in ("traefik", "contour", "envoy"):
            gateways.start(self.daemons)
        else:
            raise ClusterError(f"unknown component {name!r}; known: {', '.join(DAEMONS)}")

    def memory(self) -> int:
        """Return the proportional set size of everything in the cluster's network namespace, in MiB."""
        return sum(proportional_size(pid) for pid in in_namespace(self.place.netns) if pid != os.getpid())

    def status(self) -> str:
        """Return a table of all components."""
        lines = []
        for name in DAEMONS:
            pid = self.daemons.running(name)
            lines.append(f"{name:<24} {pid or 'down':>8} {self.daemons.memory(name):>6} MiB")
        lines.append(f"{'all, with shims of pods':<24} {'':>8} {self.memory():>6} MiB")
        return "\n".join(lines)


def node_ready(api: Api, since: float) -> bool:
    """Return whether the node is Ready by a heartbeat newer than `since`: after a restart the API shows the old one."""
    conditions = api.get(f"/api/v1/nodes/{NODE_NAME}").get("status", {}).get("conditions", [])
    for condition in conditions:
        if condition["type"] == "Ready" and condition["status"] == "True":
            beat = time.strptime(condition["lastHeartbeatTime"], "%Y-%m-%dT%H:%M:%SZ")
            return calendar.timegm(beat) >= int(since) - 1
    return False
