"""Services that someone else runs: only traffic moves, and a plan that is out of date is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onlyvips_release.core.events import Phase
from tests.testing.platform_rig import Rig
from tests.testing.router_rig import Bench, bench

pytestmark = pytest.mark.slow


@pytest.fixture
def outside() -> Iterator[Bench]:
    """Two backends that were there before us (the router of this bench is not used)."""
    with bench() as made:
        yield made


def external(rig: Rig, outside: Bench, stable: str, canary: str, **changes: Any) -> dict[str, Any]:
    """A plan of one external service; revision names are the ports' names."""
    url = {name: f"http://127.0.0.1:{outside.ports[name]}" for name in ("stable", "canary")}
    found = rig.plan(
        "v2", steps=[{"weight": 50, "bake": "4s"}], patience="0s", watch="2s", accept="no_evidence_of_harm"
    )
    names = {"stable": "41", "canary": "42"}
    found["services"] = {
        "backend-api": {
            "host": "api.*",
            "external": True,
            "health": {"path": "/api/health/health"},
            "stable": {"revision": names[stable], "url": url[stable]},
            "canary": {"revision": names[canary], "url": url[canary]},
            **changes,
        }
    }
    return found


def test_only_traffic_moves_and_users_stay_on_the_promoted_address(outside: Bench) -> None:
    with Rig(("backend-api",)) as rig:
        plan = external(rig, outside, "stable", "canary")
        rig.platform(plan).up()
        load = rig.load(200)
        release = rig.platform(plan).run()
        assert release.phase is Phase.PROMOTED, release.finished
        assert any("revision not proven" in note for note in release.noted)
        result = load.stop()
        assert result["failed"] == 0
        assert all(process.poll() is None for process in outside.processes)
        again = rig.cli("run", str(rig.write(plan)))
        assert again.returncode == 6
        assert "users are on 42" in again.stderr
        back = rig.platform(external(rig, outside, "canary", "stable")).run()
        assert back.phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
        rig.platform(plan).down()
        assert all(process.poll() is None for process in outside.processes)


def test_canary_address_that_claims_to_be_stable_gets_no_traffic(outside: Bench) -> None:
    """A canary that answers as stable: the platform's own version is the same in every build, so the claim is wrong."""
    with Rig(("backend-api",)) as rig:
        plan = external(rig, outside, "stable", "canary", identity={"json": "version"})
        plan["services"]["backend-api"]["stable"]["revision"] = "1.0.0"
        rig.platform(plan).up()
        release = rig.platform(plan).run()
        assert release.finished is not None
        assert release.finished.exit == 3
        assert "was not answered by 42" in release.finished.sentence
        assert "claims 1.0.0" in release.finished.sentence
        assert release.weight == 0


def test_canary_address_where_nobody_listens_is_told(outside: Bench) -> None:
    with Rig(("backend-api",)) as rig:
        plan = external(rig, outside, "stable", "canary")
        plan["services"]["backend-api"]["canary"]["url"] = f"http://127.0.0.1:{outside.ports['x']}"
        rig.platform(plan).up()
        release = rig.platform(plan).run()
        assert release.finished is not None
        assert release.finished.exit == 3
        assert "nothing accepts connections" in release.finished.sentence
