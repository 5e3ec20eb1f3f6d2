"""Envoy's files as functions of the plan: what needs no Envoy."""

from __future__ import annotations

import re

import pytest

from onlyvips_release.traffic.envoy_config import TOTAL, entries, pattern, routes
from tests.testing.router_double import SERVICE, plan


@pytest.mark.parametrize(
    ("path", "fits", "not_fits"),
    [
        ("/a/{id}/b", "/a/x.y-z/b", "/a/x/y/b"),
        ("/a/*", "/a/1", "/a/"),
        ("/a.b", "/a.b", "/aXb"),
        ("/a/", "/a/", "/a"),
    ],
)
def test_star_and_name_are_one_segment_and_the_rest_is_literal(path: str, fits: str, not_fits: str) -> None:
    assert re.fullmatch(pattern(path), fits)
    assert not re.fullmatch(pattern(path), not_fits)


@pytest.mark.parametrize("start", [0, 4_000, 9_500])
@pytest.mark.parametrize(("weight", "canary"), [(0, 0), (0.1, 10), (10, 1_000), (33.3, 3_330), (100, 10_000)])
def test_arms_share_the_whole_ring_in_hundredths_of_a_percent(weight: float, canary: int, start: int) -> None:
    found = entries("api", weight, start)
    of = {leg: sum(e["weight"] for e in found if e["cluster_name"] == f"api__{leg}") for leg in ("canary", "stable")}
    assert of == {"canary": canary, "stable": TOTAL - canary}


def test_only_routes_of_safe_methods_try_an_answered_request_again() -> None:
    (host,) = [h for h in routes(plan(), 10, "")["resources"][0]["virtual_hosts"] if h["name"] == SERVICE]
    tried = {route["name"]: "5xx" in route["route"]["retry_policy"]["retry_on"] for route in host["routes"]}
    assert {name: again for name, again in tried.items() if name.startswith("users-")} == {
        name: name.startswith("users-safe") for name in tried if name.startswith("users-")
    }
    assert {"users-safe", "users-unsafe"} <= set(tried)
