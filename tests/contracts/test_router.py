"""What every router must do (ports.Router), over the simulation and over Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onlyvips_release.core.model import Arm
from onlyvips_release.core.ports import Router, Source
from tests.testing.plans import make_plan
from tests.testing.router_rig import bench
from tests.testing.simulation import World


@pytest.fixture(params=["simulation", pytest.param("envoy", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest) -> Iterator[tuple[Router, Source, Any]]:
    """A router, its source, and endpoints to point at."""
    if request.param == "simulation":
        world = World(make_plan())
        ports = world.ports()
        yield ports.router, ports.source, {Arm.CANARY: {"backend-api": []}}
        return
    with bench() as rig:
        both = {
            Arm.STABLE: {"backend-api": [rig.at("stable", "v1")]},
            Arm.CANARY: {"backend-api": [rig.at("canary", "v2")]},
        }
        yield rig.router, rig.source, both


def test_weight_is_absolute_repeatable_and_read_back(made: tuple[Router, Source, Any]) -> None:
    router, _, _ = made
    for weight in (0, 10, 10, 99, 100, 1, 0):
        router.set_weight(weight)
        assert router.read_weight() == weight


def test_pointing_may_be_repeated_and_keeps_the_weight(made: tuple[Router, Source, Any]) -> None:
    router, _, endpoints = made
    router.set_weight(10)
    for _ in range(2):
        for arm, where in endpoints.items():
            router.point(arm, where)
    assert router.read_weight() == 10


def test_reset_means_weight_0_and_may_be_repeated(made: tuple[Router, Source, Any]) -> None:
    router, _, _ = made
    router.set_weight(50)
    router.reset()
    router.reset()
    assert router.read_weight() == 0


def test_nothing_to_revive_while_it_lives(made: tuple[Router, Source, Any]) -> None:
    assert made[0].revive() == ()


def test_source_gives_cumulative_counts_of_both_arms(made: tuple[Router, Source, Any]) -> None:
    _, source, _ = made
    first, second = source.sample().arms, source.sample().arms
    assert set(first) == set(second)
    for service, arms in first.items():
        assert set(arms) == set(Arm)
        for arm, series in arms.items():
            assert all(s.good >= 0 and s.bad >= 0 for s in series)
            assert [s.name for s in series] == [s.name for s in second[service][arm]]
