"""Clusters start in time, keep to their memory, run side by side, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.cluster import __main__ as command
from tests.cluster import cycles, faults, given, machine
from tests.cluster.cluster import Cluster
from tests.cluster.place import Place
from tests.cluster.process import wait
from tests.cluster.space import Space

CYCLES = 2


@pytest.mark.parametrize("number", range(CYCLES))
@pytest.mark.usefixtures("app_images")
def test_cycle_keeps_its_limits_and_leaves_nothing(own: Cluster, namespace: Space, number: int) -> None:
    """Pods of this cluster start and end meanwhile; `python -m tests.cluster cycles` measures ten such cycles."""
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(cycles.run, own.place.slot + 1)
        started = 0
        while not other.done():
            start_and_end(namespace, f"app-{started}")
            started += 1
            time.sleep(2)
    cycle = other.result()
    print(f"cycle {number}, beside {started} pods: {cycle}")
    assert cycle.faults == []
    own.daemons.require("kube-apiserver", "kubelet", "containerd")


def start_and_end(namespace: Space, app: str) -> None:
    """Start a pod, use it from outside, and wait until it is gone."""
    namespace.deploy(app, "v1", env=[{"name": "TERMINATE", "value": "exit"}])
    namespace.wait_available(app)
    (pod,) = namespace.pods(app)
    url = f"http://{pod['status']['podIP']}:8000/"
    assert httpx.get(url, trust_env=False).headers["x-revision"] == "v1"
    namespace.api.delete(namespace.path("deployments", app))
    path = namespace.path("pods", pod["metadata"]["name"])
    wait("pod ended", lambda: namespace.api.call("GET", path).status == 404, 20)


def test_cluster_of_kubeconfig_is_used_and_nothing_is_started(
    own: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the commands of another slot, this cluster is a foreign one."""
    other = Place(own.place.slot + 3)
    monkeypatch.setenv("KUBECONFIG", str(own.place.kubeconfig))
    monkeypatch.setenv("ONLYVIPS_CLUSTER_SLOT", str(other.slot))
    assert given.kubeconfig(other) == own.place.kubeconfig
    assert command.main(["up"]) == 0
    assert "nothing is started" in capsys.readouterr().out
    assert machine.left_over(other) == []
    with faults.frozen(own, "kube-apiserver"):
        assert given.kubeconfig(other) is None


def test_memory_of_all_processes_is_within_its_limit(own: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Proportional set size, with both gateways and the shims of running pods."""
    assert 0 < own.memory() <= cycles.MEMORY_LIMIT, own.status()
    assert command.main(["status"]) == 0
    assert "kube-apiserver" in capsys.readouterr().out


def test_second_up_starts_what_is_missing_alone(own: Cluster) -> None:
    before = {name: own.daemons.running(name) for name in ("etcd", "kube-apiserver", "kubelet", "kube-scheduler")}
    own.daemons.kill("kube-scheduler")
    own.up()
    after = {name: own.daemons.running(name) for name in before}
    assert after.pop("kube-scheduler") not in (None, before.pop("kube-scheduler"))
    assert after == before


def test_stopped_cluster_goes_on_and_a_broken_one_is_removed_whole(own: Cluster) -> None:
    """Stopped: nothing but its folders is left. Broken: half of the pid files are lost, containerd hangs."""
    place = Place(own.place.slot + 2)
    cluster = Cluster(place)
    try:
        cluster.up(with_gateways=False)
        api = cluster.api()
        api.create("/api/v1/namespaces", {"metadata": {"name": "kept"}})
        cluster.stop()
        assert not [found for found in machine.left_over(place) if "folder" not in found]
        cluster.up(with_gateways=False)
        assert api.get("/api/v1/namespaces/kept")["status"]["phase"] == "Active"
        api.close()
        for name in ("etcd", "kubelet"):
            (place.state / "pid" / name).unlink()
        cluster.daemons.signal("containerd", signal.SIGSTOP)
    finally:
        cluster.down()
    assert machine.left_over(place) == []


def test_killed_part_is_named_with_its_log(own: Cluster) -> None:
    pid = own.daemons.running("kube-scheduler")
    assert pid is not None
    with faults.dead(own, "kube-scheduler"), pytest.raises(Exception, match=r"kube-scheduler ended; end of .*:\n.+"):
        own.daemons.require("kube-scheduler")
    assert not os.path.exists(f"/proc/{pid}")
