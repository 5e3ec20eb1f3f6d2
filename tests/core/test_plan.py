"""Plans that are made in Python are held to the same rules as files, and fill in the same defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from onlyvips_release.core.limits import Line
from onlyvips_release.core.plan import SECOND, Health, Revision, SloLimits, Step
from onlyvips_release.errors import PlanError
from tests.testing.plans import make_plan, service

COMMAND = ("serve", "{port}")


@pytest.mark.parametrize(
    ("weight", "kept"),
    [(10, "10"), (10.0, "10"), (10.04, "10"), (99, "99")],
)
def test_weight_of_a_step_is_kept_in_tenths(weight: float, kept: str) -> None:
    assert str(Step(weight, SECOND).weight) == kept


def test_tolerance_may_be_a_factor_alone() -> None:
    assert Line(2.0, 0.0).plus == 0
    with pytest.raises(PlanError):
        Line(2.0, 1.0)


@pytest.mark.parametrize("share", [0, 1, -0.5])
@pytest.mark.parametrize("key", ["errors", "share"])
def test_share_of_an_absolute_guard_lies_between_nothing_and_everything(key: str, share: float) -> None:
    with pytest.raises(PlanError, match=f"judge.slo.{key}: .* is not a share between 0 and 1"):
        SloLimits(**{key: share})  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0, 0.04, 100, 99.95, -1, float("nan")])
def test_weight_beyond_the_tenths_between_nothing_and_everything_is_refused(weight: float) -> None:
    with pytest.raises(PlanError, match="100 is what promotion does"):
        Step(weight, SECOND)


def test_target_that_sets_whole_percents_refuses_tenths() -> None:
    with pytest.raises(PlanError, match="steps: tenths of a percent are not built yet for target embedded"):
        make_plan(steps=(Step(0.5, SECOND),))


def test_variables_of_a_canary_are_those_of_stable_unless_it_brings_its_own() -> None:
    api, stable = service("api", 1), Revision("v1", (*COMMAND, "1"), {"A": "b"})
    assert replace(api, stable=stable, canary=Revision("v2", COMMAND)).canary.env == {"A": "b"}
    assert replace(api, stable=stable, canary=Revision("v2", COMMAND, {})).canary.env == {}


@pytest.mark.parametrize(("timeout", "first_try"), [(15, 7), (10, 5), (60, 7)])
def test_first_try_has_at_most_half_of_the_time(timeout: int, first_try: int) -> None:
    changed = replace(service("api", 1), timeout=timeout * SECOND, per_try_timeout=timedelta(0))
    assert changed.per_try_timeout == first_try * SECOND


@pytest.mark.parametrize(
    ("revision", "key"),
    [
        pytest.param(Revision("v2", COMMAND, image="x:1"), "canary.image", id="image"),
        pytest.param(Revision("v2", COMMAND, health=Health("/")), "canary.health", id="health"),
    ],
)
def test_what_a_target_cannot_do_for_a_revision_yet_is_refused(revision: Revision, key: str) -> None:
    with pytest.raises(PlanError, match=f"{key}: .* is not built yet"):
        replace(service("api", 1), canary=revision)


def test_target_of_a_plan_is_that_of_its_services() -> None:
    assert make_plan().target == "embedded"
