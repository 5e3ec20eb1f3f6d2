"""What every router must do (ports.Router), over the simulation and over Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onlyvips_release.core.model import Arm
from tests.contracts.kinds import ROUTERS, SLOW, RouterKind

ROWS = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ROUTERS]


@pytest.fixture(params=ROWS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RouterKind]:
    """A router, its source, and endpoints to point at."""
    with ROUTERS[request.param](tmp_path) as kind:
        yield kind


def test_weight_is_absolute_repeatable_and_read_back(made: RouterKind) -> None:
    router = made.router
    for weight in (0, 10, 10, 99, 100, 1, 0):
        router.set_weight(weight)
        assert router.read_weight() == weight


def test_pointing_may_be_repeated_and_keeps_the_weight(made: RouterKind) -> None:
    router, endpoints = made.router, made.endpoints
    router.set_weight(10)
    for _ in range(2):
        for arm, where in endpoints.items():
            router.point(arm, where)
    assert router.read_weight() == 10


def test_reset_means_weight_0_and_may_be_repeated(made: RouterKind) -> None:
    router = made.router
    router.set_weight(50)
    router.reset()
    router.reset()
    assert router.read_weight() == 0


def test_nothing_to_revive_while_it_lives(made: RouterKind) -> None:
    assert made.router.revive() == ()


def test_source_gives_cumulative_counts_of_both_arms(made: RouterKind) -> None:
    source = made.source
    first, second = source.sample().arms, source.sample().arms
    assert set(first) == set(second)
    for service, arms in first.items():
        assert set(arms) == set(Arm)
        for arm, series in arms.items():
            assert all(s.good >= 0 and s.bad >= 0 for s in series)
            assert [s.name for s in series] == [s.name for s in second[service][arm]]
