"""One cluster for all tests: the one that KUBECONFIG names, else one of our own; a namespace for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import build, given, images, machine
from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.cluster.place import ClusterError, Place, reserved, slot_from_environment
from tests.cluster.space import IMAGES, Space, space

APP = Path(__file__).parent / "app.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a cluster, before `-m` looks at the marks."""
    for item in items:
        if "running" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True)
class Running:
    """The cluster that tests use; `own` is None when KUBECONFIG named it."""

    api: Api
    own: Cluster | None
    run: str


def skip_or_fail(reason: str) -> None:
    """Skip on a machine that lacks something; fail where ONLYVIPS_CLUSTER_REQUIRED says that all must be there."""
    if os.environ.get("ONLYVIPS_CLUSTER_REQUIRED"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """Start a cluster unless one is there; one that was there before is left running."""
    run = secrets.token_hex(4)
    if file := given.kubeconfig(Place(slot_from_environment())):
        api = Api.from_kubeconfig(file)
        yield Running(api, None, run)
        api.close()
        return
    if missing := machine.missing_parts():
        skip_or_fail(missing)
    try:
        for program in (build.NODE, build.CONTOUR):
            build.binary(program, build=False)
    except ClusterError as error:
        skip_or_fail(str(error))
    with reserved() as slot:
        cluster = Cluster(Place(slot))
        before = cluster.daemons.running("kube-apiserver")
        try:
            cluster.up()
            api = cluster.api()
            yield Running(api, cluster, run)
            api.close()
        finally:
            if not before:
                cluster.down()


@pytest.fixture(scope="session")
def app_images(running: Running) -> None:
    """Load the two revisions of the test service: they differ in one variable, so in their IDs."""
    made = [
        images.python(name, ("/app.py",), {"/app.py": APP.read_bytes()}, {"REVISION": revision})
        for revision, name in IMAGES.items()
    ]
    try:
        images.load(running.own.place if running.own else None, *made)
    except ClusterError as error:
        skip_or_fail(str(error))


@pytest.fixture(scope="session")
def own(running: Running) -> Cluster:
    """Return the cluster of our own: faults of its components and addresses are not to be had on others."""
    if running.own is None:
        pytest.skip("KUBECONFIG names a cluster whose components are not ours")
    return running.own


@pytest.fixture
def namespace(running: Running) -> Iterator[Space]:
    """Return a namespace for one test."""
    with space(running.api, running.run) as made:
        yield made


@pytest.fixture
def api(running: Running) -> Api:
    """Return a client with the administrator's rights."""
    return running.api


@pytest.fixture(scope="session")
def gateway_api(running: Running) -> None:
    """Demand the resources of the Gateway API, which a foreign cluster may lack."""
    if running.api.call("GET", "/apis/gateway.networking.k8s.io/v1").status == 404:
        skip_or_fail("the cluster of KUBECONFIG has no Gateway API: apply its standard resource definitions there")
