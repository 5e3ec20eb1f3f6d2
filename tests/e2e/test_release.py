"""One release, for real: real Envoy, real processes, real users counted from outside."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from datetime import datetime
from typing import Any

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm
from onlyvips_release.errors import NotReady
from onlyvips_release.workloads.process import ProcessWorkload
from tests.testing.platform_rig import HEALTH, QUICK, Rig, installed

pytestmark = pytest.mark.slow

rig = pytest.fixture(installed)


def failed(result: dict[str, Any], *methods: str) -> int:
    """Failed requests by method; all without a method."""
    return sum(cell["failed"] for cell in result["cells"] if not methods or cell["method"] in methods)


def test_users_see_no_failure_through_promotion_crash_and_sick_canary_and_the_harness_can_see_failures(
    rig: Rig,
) -> None:
    """>= 50,000 requests: v2 promoted, v3 crashes and v4 answers 500 to every GET, both rolled back: 0 failed."""
    load = rig.load(900)
    good = rig.release("v2")
    assert good.phase is Phase.PROMOTED, good.finished
    crash = rig.release("v3", {"backend-api": ("crash_after=9",)})
    assert crash.phase is Phase.ROLLED_BACK
    sick = rig.release("v4", {"backend-api": ("errors=1.0", "error_methods=GET")})
    assert sick.phase is Phase.ROLLED_BACK
    assert sick.finished is not None
    assert "backend-api" in sick.finished.sentence
    assert rig.revisions() == dict.fromkeys(rig.revisions(), "v2")
    while load.totals()["sent"] < 50_000:
        time.sleep(0.5)
    result = load.stop()
    assert result["sent"] >= 50_000
    assert failed(result, "GET") == 0, result["failures"]
    assert failed(result) <= 3, result["failures"]  # other methods: in flight on the canary when it died
    assert controls(rig) == {"envoy restarted": True, "canary killed behind plain weights": True, "closed": True}


def controls(rig: Rig) -> dict[str, bool]:
    """Three deliberate outages that the load must count as failures: else its zero above says nothing."""
    seen: dict[str, bool] = {}
    load = rig.load(300)
    time.sleep(1)
    os.kill(rig.envoy(), signal.SIGKILL)
    time.sleep(0.3)
    rig.up()
    time.sleep(1)
    seen["envoy restarted"] = load.stop()["failed"] > 0
    seen["canary killed behind plain weights"] = plain_weights(rig)
    load = rig.load(300)
    time.sleep(0.5)
    pid = next(i.pid for i in rig.platform().target.workload.inspect() if i.service == "miniapp")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    seen["closed"] = load.stop()["failed"] > 0
    rig.up()
    return seen


def plain_weights(rig: Rig) -> bool:
    """The routes as other tools write them: weighted clusters, no retry, no fallback; then the canary is killed."""
    outcome: list[bool] = []

    def sabotage(event: events.Event, release: Release) -> None:
        if not (isinstance(event, events.Shifted) and event.weight == 50):
            return
        path = rig.state / "e2e" / "live" / "router" / "rds.json"
        routes = json.loads(path.read_text())
        routes["version_info"] += ".plain"
        for host in routes["resources"][0]["virtual_hosts"]:
            for route in host["routes"]:
                plain(route, host["name"])
        temporary = path.with_name("plain.tmp")
        temporary.write_text(json.dumps(routes))
        temporary.rename(path)
        load = rig.load(300)
        time.sleep(0.7)
        canary = next(i for i in release.canary if i.service == "miniapp")
        assert canary.pid is not None
        os.kill(canary.pid, signal.SIGKILL)
        time.sleep(1)
        outcome.append(load.stop()["failed"] > 0)

    rig.release("v5", tell=sabotage, **{**QUICK, "steps": [{"weight": 50, "bake": "6s"}]})
    return outcome == [True]


def plain(route: dict[str, Any], service: str) -> None:
    """One users' route without what keeps users whole."""
    target = route.get("route", {})
    if "inline_cluster_specifier_plugin" not in target:
        return
    del target["inline_cluster_specifier_plugin"]
    target.pop("retry_policy", None)
    arms = [{"name": f"{service}__{arm}", "weight": 50} for arm in ("stable", "canary")]
    target["weighted_clusters"] = {"clusters": arms}


def test_one_bad_service_of_four_takes_all_four_back(rig: Rig) -> None:
    rig.load(400)
    release = rig.release("v2", {"showcu-panel": ("errors=0.5",)})
    assert release.phase is Phase.ROLLED_BACK
    assert release.outcome is not None
    assert "showcu-panel" in release.outcome.sentence
    assert rig.revisions() == dict.fromkeys((*HEALTH, "flirt-bot"), "v1")


@pytest.mark.parametrize("fault", ["never_ready", "not_listening"])
def test_second_canary_that_is_never_ready_means_that_no_user_ever_met_the_first(rig: Rig, fault: str) -> None:
    load = rig.load(200)
    plan = rig.plan("v2", {"miniapp": (fault,)})
    plan["services"]["miniapp"]["health"]["within"] = "2s"
    path = rig.write(plan)
    done = rig.cli("run", str(path))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "miniapp" in done.stdout.splitlines()[-1]
    result = load.stop()
    assert result["failed"] == 0
    assert {cell["arm"] for cell in result["cells"]} == {"stable"}
    assert set(rig.revisions().values()) == {"v1"}


def test_promotion_that_fails_at_the_third_service_puts_all_four_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ProcessWorkload.promote

    def failing(self: ProcessWorkload, revision: Any) -> Any:
        if (self.service.name, revision.name) == ("showcu-panel", "v2"):
            raise NotReady("showcu-panel: planted, after two of three were promoted")
        return honest(self, revision)

    monkeypatch.setattr(ProcessWorkload, "promote", failing)
    load = rig.load(300)
    release = rig.release("v2", accept="no_evidence_of_harm", **QUICK)
    assert release.committed
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert rig.revisions() == dict.fromkeys((*HEALTH, "flirt-bot"), "v1")
    assert load.stop()["failed"] == 0


def test_bot_that_does_not_live_takes_everything_back_before_the_point_of_no_return(rig: Rig) -> None:
    load = rig.load(200)
    release = rig.release("v2", {"flirt-bot": ("exit_at_start",)}, accept="no_evidence_of_harm", **QUICK)
    assert not release.committed
    assert release.phase is Phase.ROLLED_BACK
    assert rig.revisions() == dict.fromkeys((*HEALTH, "flirt-bot"), "v1")
    assert load.stop()["failed"] == 0


def test_totally_broken_canary_is_off_within_seconds_while_users_see_nothing() -> None:
    """100 requests/s on one service, 10 %, 2-s tick, five releases: median <= 6 s, none > 12 s, <= 110 bad attempts."""
    times, attempts = [], []
    with Rig(("miniapp",)) as rig:
        rig.up()
        load = rig.load(100)
        for number in range(5):
            release = rig.release(f"v{number + 2}", {"miniapp": ("errors=1.0",)})
            assert release.phase is Phase.ROLLED_BACK
            on, off = shifts(rig.journal)
            times.append(off - on)
            attempts.append(canary_failures(rig.journal))
        result = load.stop()
    assert statistics.median(times) <= 6, times
    assert max(times) <= 12, times
    assert max(attempts) <= 110, attempts
    assert min(attempts) > 0
    assert failed(result, "GET") == 0


def shifts(journal: list[events.Event]) -> tuple[float, float]:
    """When the canary got users, and when it lost them (epoch seconds)."""
    found = [event for event in journal if isinstance(event, events.Shifted)]
    at = [datetime.fromisoformat(event.at).timestamp() for event in found]
    weights = [event.weight for event in found]
    return at[weights.index(10)], at[weights.index(0, weights.index(10))]


def canary_failures(journal: list[events.Event]) -> int:
    """Bad first attempts on the canary, as the router counted them until the last sample."""
    last = [event for event in journal if isinstance(event, events.Sampled)][-1]
    return sum(series.bad for arms in last.series.values() for series in arms[Arm.CANARY])
