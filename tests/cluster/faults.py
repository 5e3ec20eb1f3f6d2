"""Faults that tests put into a cluster, each with its way back."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.cluster.api import JSON_PATCH, Answer, Api, Object
from tests.cluster.cluster import Cluster
from tests.cluster.shell import run

CHUNK = 65536


@contextmanager
def blackholed_api(cluster: Cluster) -> Iterator[None]:
    """Drop every packet to the API server that comes from outside the node: this machine and pods get no answer."""
    table = ("nsenter", f"--net={cluster.place.netns}", "iptables", "-w")
    rule = ("INPUT", "!", "-i", "lo", "-p", "tcp", "--dport", "6443", "-j", "DROP")
    run(*table, "-I", *rule)
    try:
        yield
    finally:
        run(*table, "-D", *rule)


@contextmanager
def dead(cluster: Cluster, *names: str) -> Iterator[None]:
    """Kill components; start them again afterwards."""
    for name in names:
        cluster.daemons.kill(name)
    try:
        yield
    finally:
        for name in reversed(names):
            cluster.restart(name)


@contextmanager
def frozen(cluster: Cluster, name: str) -> Iterator[None]:
    """Stop a component by SIGSTOP; let it go on afterwards."""
    cluster.daemons.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.daemons.signal(name, signal.SIGCONT)


class ApiProxy:
    """A relay to the API server, for one client alone and on any cluster: it delays, swallows or refuses.

    Give a client `url` in place of the server's address.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._target = (parts.hostname or "", parts.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.delay = 0.0
        self.silent = False
        self.refusing = False
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="api-proxy")]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._sockets += [client, server]
            for pair in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._copy, args=pair, name="api-proxy-copy"))
                self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                if not self.silent:
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections and threads."""
        for end in (self._listener, *self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        for end in (self._listener, *self._sockets):
            end.close()


@contextmanager
def api_proxy(api: Api) -> Iterator[ApiProxy]:
    """Relay calls while the block runs."""
    proxy = ApiProxy(api.server)
    try:
        yield proxy
    finally:
        proxy.close()


def evict(api: Api, namespace: str, pod: str) -> Answer:
    """Ask for the eviction of a pod: 201, or 429 when a disruption budget forbids it."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    return api.call("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", body)


@contextmanager
def tainted(api: Api, key: str, effect: str = "NoSchedule") -> Iterator[None]:
    """Give every node a taint; take it away afterwards."""
    nodes = [f"/api/v1/nodes/{node['metadata']['name']}" for node in api.items("/api/v1/nodes")]
    for node in nodes:
        _set_taints(api, node, [*_other_taints(api, node, key), {"key": key, "value": "yes", "effect": effect}])
    try:
        yield
    finally:
        for node in nodes:
            _set_taints(api, node, _other_taints(api, node, key))


def _other_taints(api: Api, node: str, key: str) -> list[Object]:
    return [taint for taint in api.get(node)["spec"].get("taints", []) if taint["key"] != key]


def _set_taints(api: Api, node: str, taints: list[Object]) -> None:
    api.patch(node, [{"op": "add", "path": "/spec/taints", "value": taints}], JSON_PATCH)


def fill_quota(api: Api, namespace: str) -> None:
    """Allow exactly the pods that there are: every further one is refused."""
    pods = len(api.items(f"/api/v1/namespaces/{namespace}/pods"))
    spec = {"hard": {"pods": str(pods)}}
    metadata = {"name": "full"}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    api.create(f"/api/v1/namespaces/{namespace}/resourcequotas", body)


def revoke(api: Api, namespace: str, account: str) -> None:
    """Delete a ServiceAccount: its tokens are refused within 10 s, the time that the API server keeps an answer."""
    api.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}")
