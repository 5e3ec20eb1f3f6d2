"""Each kind of metric from its real source to a rollback whose sentence names it: sandbox, Envoy, /proc, history."""

from __future__ import annotations

from typing import Any

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from tests.testing.platform_rig import Rig

pytestmark = pytest.mark.slow

STEPS = [{"weight": 50, "bake": "90s"}]
JUDGE: dict[str, Any] = {"block": "4s", "warm_up": "2s"}


def judged(rig: Rig, *faults: str, **changes: Any) -> Release:
    """A release of backend-api with these faults of the canary, half of 200 requests a second."""
    options = {"steps": STEPS, "judge": JUDGE, "watch": "2s", "patience": "0s", **changes}
    with rig.load(200):
        return rig.release("v2", {"backend-api": faults}, **options)


@pytest.mark.parametrize(
    ("fault", "metric", "words"),
    [
        pytest.param("latency_ms=40", "latency", "of canary answers took longer than", id="latency"),
        pytest.param(
            "business_refused=1", "volume", "of canary requests were good business calls", id="business volume"
        ),
    ],
)
def test_fault_that_the_router_sees_is_rolled_back_by_name(fault: str, metric: str, words: str) -> None:
    with Rig(("backend-api",)) as rig:
        rig.up()
        release = judged(rig, fault)
        assert release.phase is Phase.ROLLED_BACK
        assert release.outcome
        assert release.outcome.reason == f"rollback:{metric}", release.outcome.sentence
        assert words in release.outcome.sentence


@pytest.mark.slice
def test_second_release_starts_from_the_first_ones_history_and_sees_cpu_and_memory_by_it() -> None:
    with Rig(("backend-api",)) as rig:
        rig.up()
        first = judged(rig, steps=[{"weight": 50, "bake": "64s"}])
        assert first.phase is Phase.PROMOTED, first.finished
        assert any("no history yet" in note for note in first.noted)

        for canary, fault, metric in (("v3", "cpu_burn=0.6", "cpu"), ("v4", "leak_mb_per_s=4", "memory")):
            plan = rig.plan(canary, {"backend-api": (fault,)}, steps=STEPS, judge=JUDGE)
            with rig.load(200):
                release = rig.platform(plan).run(lambda event, _: rig.journal.append(event))
            started = next(event for event in reversed(rig.journal) if isinstance(event, events.Started))
            assert started.history["backend-api"].release == "r0002"
            assert any("history of r0002" in note and "phi0" in note for note in release.noted)
            assert release.phase is Phase.ROLLED_BACK
            assert release.outcome
            assert release.outcome.reason == f"rollback:{metric}", release.outcome.sentence
            assert f"{metric} of the canary is" in release.outcome.sentence
            assert "how much it wanders is from earlier releases" in release.outcome.sentence


def test_absolute_limit_of_memory_stops_a_leak_in_the_first_release() -> None:
    with Rig(("backend-api",)) as rig:
        rig.up()
        release = judged(rig, "leak_mb_per_s=40", judge=JUDGE | {"memory": {"most": "150MB"}})
        assert release.phase is Phase.ROLLED_BACK
        assert release.outcome
        assert release.outcome.reason == "limit:memory"
        assert "your absolute limit is 150 MB" in release.outcome.sentence


@pytest.mark.slice
def test_absolute_limit_of_cpu_stops_a_burn_in_the_first_release() -> None:
    with Rig(("backend-api",)) as rig:
        rig.up()
        release = judged(rig, "cpu_burn=0.9", judge=JUDGE | {"cpu": {"most": 0.6}})
        assert release.outcome
        assert release.outcome.reason == "limit:cpu", release.outcome.sentence
