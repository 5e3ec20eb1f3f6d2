"""What people read while a release bakes."""

from __future__ import annotations

from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.reporting.terminal import QUIET, heartbeat
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World


def heartbeats(rps: float) -> list[tuple[float, str]]:
    """(seconds of bake, text) after each sample of the bake."""
    world, release, found = World(make_plan(), rps), Release(), list[tuple[float, str]]()
    carry_out(world)
    for event in world.journal:
        release.apply(event)
        if isinstance(event, events.Sampled) and release.phase is events.Phase.BAKING:
            found.append((release.evidence.baked, heartbeat(event, release)))
    return found


def test_bake_without_any_request_says_after_a_minute_where_users_should_go() -> None:
    for baked, text in heartbeats(0):
        assert ("NO REQUEST of users reached backend-api, miniapp, showcu-panel yet" in text) == (baked >= QUIET), text
    assert "127.0.0.1:" in text


def test_bake_with_requests_counts_them() -> None:
    assert all("NO REQUEST" not in text for _, text in heartbeats(100))
