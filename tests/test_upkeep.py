"""Where users are safe right now, whatever the last safe weight was: never on an arm without a ready instance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Event
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Instance
from onlyvips_release.errors import Unavailable
from onlyvips_release.upkeep import Upkeep
from tests.core.test_fold import ROUTED, baking, committed
from tests.testing.simulation import World

RESTORED = (
    events.Replaced(dict.fromkeys(ROUTED, "v2"), ()),
    events.Shifted(0, "", 1.0),
    events.Promoted(""),
    events.RollbackStarted("tested"),
    events.CanaryStarted((), 100),
)


def upkeep(release: Release, canary: str, stable: str) -> tuple[Upkeep, World]:
    """A world with one instance an arm and service; `canary` and `stable`: ready, dead, unready or one (is dead)."""
    world = World(release.plan)
    tracked, serving = ("v1", "v2") if release.promoted else ("v2", "v1")
    for name in ROUTED:
        found = []
        for arm, how, revision in (
            (Arm.CANARY, canary, tracked),
            (Arm.STABLE, stable, serving),
        ):
            alive = how in ("ready", "unready") or (how == "one" and name != "miniapp")
            found.append(Instance(name, arm, revision, f"{name} {arm}", alive, ready=how != "unready"))
        world.instances[name] = found
    return Upkeep(release, world.ports(), lambda *happened: None), world


@pytest.mark.parametrize("more", [(), RESTORED], ids=["the new revision in the track", "the old one, in a restore"])
@pytest.mark.parametrize(
    ("canary", "stable", "weight"),
    [
        pytest.param("ready", "ready", 100, id="both arms answer"),
        pytest.param("ready", "dead", 100, id="stable is dead"),
        pytest.param("dead", "ready", 0, id="the track is dead"),
        pytest.param("unready", "ready", 0, id="the track is not ready"),
        pytest.param("one", "ready", 0, id="one service of the track is dead"),
        pytest.param("one", "one", 100, id="one service is dead on both arms"),
        pytest.param("dead", "dead", 100, id="nothing answers"),
        pytest.param("dead", "unready", 100, id="stable is not ready either"),
    ],
)
def test_users_stay_on_the_track_unless_only_stable_answers(
    more: tuple[Event, ...], canary: str, stable: str, weight: int
) -> None:
    found, _ = upkeep(committed(*more), canary, stable)
    assert found.release.safe_weight == 100
    assert found.safe_weight() == weight


def test_users_belong_on_stable_before_the_point_of_no_return_whatever_answers() -> None:
    assert upkeep(baking(), "ready", "dead")[0].safe_weight() == 0


def test_control_plane_that_is_away_leaves_the_last_safe_weight() -> None:
    found, world = upkeep(committed(), "dead", "ready")

    def away(name: str) -> None:
        raise Unavailable("planted")

    world.on_call = away
    assert found.safe_weight() == 100


@pytest.mark.parametrize(
    ("release", "canary", "weight"),
    [
        pytest.param(baking(), "ready", 0, id="before the point of no return"),
        pytest.param(committed(), "ready", 100, id="behind it"),
        pytest.param(committed(), "dead", 0, id="behind it, and only stable answers"),
    ],
)
def test_weight_of_the_lease_is_where_users_are_safe_now(release: Release, canary: str, weight: int) -> None:
    found, world = upkeep(release, canary, "ready")
    found.poll()
    assert world.safe_weight == weight


def test_revived_instance_is_noted_once() -> None:
    noted: list[Event] = []
    found, world = upkeep(baking(), "ready", "ready")
    found.record = lambda *happened: noted.extend(happened)
    world.instances["miniapp"] = [replace(i, alive=i.arm is Arm.CANARY) for i in world.instances["miniapp"]]
    found.poll()
    world.time += 60
    found.poll()
    assert sum(event == events.Noted("miniapp v1 had died and was started again") for event in noted) == 1
