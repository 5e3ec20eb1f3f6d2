"""The real metrics server, for `make long` alone: it takes minutes to compile and replaces the stub of other tests."""

from __future__ import annotations

import os

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.place import Place

pytestmark = pytest.mark.skipif(not os.environ.get("ONLYVIPS_LONG"), reason="`make long` runs it")


def test_metrics_server_measures_the_node(own: Cluster) -> None:
    cluster = Cluster(Place(own.place.slot + 1))
    try:
        cluster.up(with_gateways=False, with_metrics=True)
        api = cluster.api()
        (node,) = api.items("/apis/metrics.k8s.io/v1beta1/nodes")
        assert node["usage"]["cpu"] != "0"
        api.close()
    finally:
        cluster.down()
