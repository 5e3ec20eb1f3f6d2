"""Two gateways split users by the weights of an HTTPRoute, counted from outside the cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest

from tests.cluster import faults
from tests.cluster.api import JSON_PATCH, Api, Object
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Running
from tests.cluster.gateways import CONTOUR, GATEWAYS, TRAEFIK, Gateway
from tests.cluster.load import Aim, background, count
from tests.cluster.process import wait
from tests.cluster.space import Space, condition, space

REQUESTS = 10_000
both = pytest.mark.parametrize("gateway", GATEWAYS, ids=lambda gateway: gateway.name)


@pytest.fixture(scope="module")
def shop(running: Running, own: Cluster, app_images: None) -> Iterator[Space]:
    """Return a namespace with a stable service, a canary, and a route of each gateway."""
    assert own.place.slot >= 0
    with space(running.api, running.run) as made:
        for arm, revision in (("stable", "v1"), ("canary", "v2")):
            made.deploy(arm, revision)
            made.expose(arm)
        for gateway in GATEWAYS:
            made.route(gateway.name, f"{gateway.name}.test", {"stable": 1000, "canary": 0})
        for arm in ("stable", "canary"):
            made.wait_available(arm)
        yield made


def aim(own: Cluster, gateway: Gateway, **more: object) -> Aim:
    """Return a load on a gateway's own host name."""
    return Aim(gateway.address(own.place), f"{gateway.name}.test", **more)  # type: ignore[arg-type]


def shift(api: Api, shop: Space, own: Cluster, gateway: Gateway, tenths: int) -> None:
    """Give the canary a weight in tenths of a percent, and wait until users see it."""
    path = shop.path("httproutes", gateway.name)
    weights: list[Object] = [
        {"op": "replace", "path": f"/spec/rules/0/backendRefs/{index}/weight", "value": value}
        for index, value in enumerate((1000 - tenths, tenths))
    ]
    api.patch(path, weights, JSON_PATCH)
    wanted = {name for name, weight in (("v1", 1000 - tenths), ("v2", tenths)) if weight}

    def seen() -> bool:
        tally = count(aim(own, gateway, requests=min(2000, max(60, 20_000 // (tenths or 1000))), connections=2))
        return tally.failures == 0 and set(tally.revisions) == wanted

    wait(f"weight {tenths} at {gateway.name}", seen, 20)


@pytest.mark.parametrize("tenths", [0, 100, 500, 1000])
@both
def test_weights_split_users(api: Api, shop: Space, own: Cluster, gateway: Gateway, tenths: int) -> None:
    """10,000 requests lie within four standard errors of the weight; 0 and 100 % are exact."""
    shift(api, shop, own, gateway, tenths)
    tally = count(aim(own, gateway, requests=REQUESTS))
    print(f"{gateway.name} at {tenths / 10} %: {tally.revisions}, {tally.failures} failures")
    assert (tally.requests, tally.failures) == (REQUESTS, 0), tally
    share = tenths / 1000
    error = math.sqrt(share * (1 - share) / REQUESTS)
    assert abs(tally.share("v2") - share) <= 4 * error, tally


@both
def test_route_is_accepted_by_its_gateway(shop: Space, gateway: Gateway) -> None:
    def accepted() -> bool:
        parents = shop.get("httproutes", gateway.name).get("status", {}).get("parents", [])
        states = [{"status": {"conditions": parent["conditions"]}} for parent in parents]
        kinds = ("Accepted", "ResolvedRefs")
        return [condition(state, kind)["status"] for state in states for kind in kinds] == ["True", "True"]

    wait("route accepted", accepted, 20)


@both
def test_shift_under_load_fails_no_request(api: Api, shop: Space, own: Cluster, gateway: Gateway) -> None:
    with background(aim(own, gateway, rate=200, seconds=60)) as load:
        for tenths in (100, 500, 0):
            shift(api, shop, own, gateway, tenths)
            time.sleep(1)
        tally = load.stop()
    assert tally.requests > 500
    assert (tally.failures, tally.hangs) == (0, 0), tally


@both
def test_gateway_is_reached_from_pods(shop: Space, own: Cluster, gateway: Gateway) -> None:
    address, port = gateway.address(own.place)
    request = f"import urllib.request as u; r = u.Request('http://{address}:{port}/', headers={{'Host': 'HOST'}});"
    code = f"{request} print('answer', u.urlopen(r, timeout=5).status)".replace("HOST", f"{gateway.name}.test")
    name = f"client-{gateway.name}"
    shop.deploy(name, "v1", command=["/python", "-c", f"{code}; import time; time.sleep(600)"], readinessProbe=None)
    shop.wait_pod(name, "answer of the gateway", lambda pod: "answer 200" in log(shop, pod), 20)
    shop.api.delete(shop.path("deployments", name))


def log(shop: Space, pod: Object) -> str:
    """Return a pod's log, empty while there is none."""
    answer = shop.api.call("GET", shop.path("pods", pod["metadata"]["name"], "log"))
    return str(answer.body.get("text", ""))


def test_killed_gateway_refuses_users_and_serves_again(shop: Space, own: Cluster) -> None:
    with background(aim(own, TRAEFIK, rate=100, seconds=60)) as load:
        time.sleep(1)
        with faults.dead(own, "traefik"):
            time.sleep(0.5)
        wait("users served", lambda: count(aim(own, TRAEFIK, requests=60)).failures == 0, 20)
        tally = load.stop()
    assert "ConnectionRefusedError" in tally.statuses, tally


def test_envoy_serves_on_while_contour_is_dead(shop: Space, own: Cluster) -> None:
    with faults.dead(own, "contour"):
        assert count(aim(own, CONTOUR, requests=500)).failures == 0
