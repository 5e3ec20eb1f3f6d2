"""The plan's `business`: which calls are the volume, whose defaults hold, what is refused and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onlyvips_release.codec import decode, encode
from onlyvips_release.core.plan import BUSINESS, ReleasePlan
from onlyvips_release.errors import PlanError
from onlyvips_release.planfile import load
from tests.testing.plans import service

PLAN = """\
version: 1
platform: onlyvips
services:
  backend-api:
    business: CALLS
    external: true
    stable: {revision: "1", url: "http://127.0.0.1:9001"}
    canary: {revision: "2", url: "http://127.0.0.1:9002"}
"""


def read(tmp_path: Path, text: str) -> ReleasePlan:
    """The plan of a file."""
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return load(path)[0]


@pytest.mark.parametrize(
    ("name", "key", "calls"),
    [
        pytest.param("backend-api", "", BUSINESS["backend-api"], id="OnlyVips' own"),
        pytest.param("miniapp", "", (), id="a service that has none"),
        pytest.param("backend-api", "    business: []\n", (), id="switched off"),
        pytest.param("backend-api", '    business: ["PUT /a/*/{}/{id}/"]\n', ("PUT /a/*/{}/{id}/",), id="given"),
    ],
)
def test_plan_overrides_the_defaults_and_both_survive_the_journal(
    tmp_path: Path, name: str, key: str, calls: tuple[str, ...]
) -> None:
    text = PLAN.replace("    business: CALLS\n", key).replace("backend-api", name)
    plan = read(tmp_path, text)
    for found in (plan, decode(ReleasePlan, encode(plan))):
        assert found.services[0].business_calls == calls


@pytest.mark.parametrize(
    "call",
    ["/api/x", "POST", "post /api", "POST api", "POST  /api", "POST /api?x=1", "POST /a*", "POST /a/{id", "POST /a b"],
)
def test_malformed_call_is_refused_at_its_place(tmp_path: Path, call: str) -> None:
    with pytest.raises(PlanError) as caught:
        read(tmp_path, PLAN.replace("CALLS", f'["GET /good", "{call}"]'))
    (line,) = caught.value.lines()
    assert ":5:29: services.backend-api.business.1: give METHOD /path" in line


def test_service_without_traffic_has_no_business(tmp_path: Path) -> None:
    bot = "  bot: {routed: false, business: [GET /], process: {}, canary: {revision: v2, command: [x]}}\n"
    with pytest.raises(PlanError) as caught:
        read(tmp_path, PLAN.replace("CALLS", "[]") + bot)
    (line,) = caught.value.lines()
    assert ":9:34: services.bot.business: a service without traffic has no business calls" in line


def test_plan_made_in_python_is_held_to_the_same() -> None:
    with pytest.raises(PlanError, match="business: 'nonsense' is not METHOD /path"):
        replace(service("api", 1), business=("nonsense",))
