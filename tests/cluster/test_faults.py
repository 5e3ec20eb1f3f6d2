"""Each fault tool does what its name says, and takes it back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.cluster import faults
from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.cluster.faults import ApiProxy
from tests.cluster.place import ClusterError
from tests.cluster.process import wait
from tests.cluster.space import Space

SHORT = httpx.Timeout(1, connect=1)
READY = "/readyz"


@pytest.fixture
def relayed(own: Cluster, api: Api) -> Iterator[tuple[ApiProxy, Api]]:
    """Return a relay to the API server, and a client that goes through it."""
    with faults.api_proxy(api) as proxy:
        client = Api.from_kubeconfig(own.place.kubeconfig, proxy.url, SHORT)
        yield proxy, client
        client.close()


def test_slow_api_delays_each_answer(relayed: tuple[ApiProxy, Api]) -> None:
    proxy, client = relayed
    assert client.ready()
    proxy.delay = 0.2
    begun = time.monotonic()
    assert client.ready()
    assert time.monotonic() - begun >= 0.4


def test_silent_api_costs_a_client_its_time_limit(relayed: tuple[ApiProxy, Api]) -> None:
    proxy, client = relayed
    assert client.ready()
    proxy.silent = True
    begun = time.monotonic()
    with pytest.raises(ClusterError, match="ReadTimeout"):
        client.ready()
    assert 0.9 <= time.monotonic() - begun < 2
    proxy.silent = False
    assert client.ready()


def test_refusing_api_is_an_error_at_once(relayed: tuple[ApiProxy, Api]) -> None:
    proxy, client = relayed
    proxy.refusing = True
    begun = time.monotonic()
    with pytest.raises(ClusterError):
        client.ready()
    assert time.monotonic() - begun < 0.5


def test_blackholed_api_answers_nobody_outside_the_node(own: Cluster) -> None:
    client = Api.from_kubeconfig(own.place.kubeconfig, timeout=SHORT)
    with faults.blackholed_api(own):
        with pytest.raises(ClusterError, match="ConnectTimeout"):
            client.ready()
        own.daemons.require("kube-apiserver", "kubelet")
    wait("API server answers again", client.ready, 10)
    client.close()


def test_frozen_api_server_goes_on_afterwards(own: Cluster) -> None:
    client = Api.from_kubeconfig(own.place.kubeconfig, timeout=SHORT)
    with faults.frozen(own, "kube-apiserver"), pytest.raises(ClusterError, match="Timeout"):
        client.ready()
    wait("API server answers again", client.ready, 10)
    client.close()


def test_killed_api_server_keeps_every_object(own: Cluster, api: Api, namespace: Space) -> None:
    namespace.create("configmaps", "ConfigMap", "one", data={"key": "kept"})
    with faults.dead(own, "kube-apiserver"), pytest.raises(ClusterError, match="ConnectError"):
        api.get(READY)
    wait("API server answers again", api.ready, 30)
    assert namespace.get("configmaps", "one")["data"] == {"key": "kept"}


@pytest.mark.usefixtures("app_images")
def test_pod_runs_on_while_the_kubelet_is_dead(own: Cluster, namespace: Space) -> None:
    namespace.deploy("app", "v1")
    namespace.wait_available("app")
    (before,) = namespace.pods("app")
    url = f"http://{before['status']['podIP']}:8000/ready"
    with faults.dead(own, "kubelet"):
        assert httpx.get(url, trust_env=False).headers["x-revision"] == "v1"
    (after,) = namespace.pods("app")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_unknown_component_is_named_with_those_that_exist(own: Cluster) -> None:
    with pytest.raises(ClusterError, match="known: etcd"):
        own.restart("etdc")
