"""One release, for real: real Envoy, real processes, real users counted from outside."""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.errors import NotReady
from onlyvips_release.traffic.envoy import EnvoyRouter
from onlyvips_release.workloads.process import ProcessWorkload
from tests.testing.platform_rig import HEALTH, Rig, mine

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"steps": [{"weight": 10, "bake": "4s"}], "patience": "0s", "watch": "2s"}


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Four services, v1 installed."""
    with Rig() as found:
        found.up()
        yield found


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


def test_no_users_is_inconclusive_and_the_verdict_is_the_last_line(rig: Rig) -> None:
    path = rig.write(rig.plan("v2", **QUICK))
    done = rig.cli("run", str(path))
    assert done.returncode == 3, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("r0002 INCONCLUSIVE")
    assert "no user request" in last
    again = rig.cli("run", str(path), "--json")
    found = json.loads(again.stdout)
    assert (found["verdict"], found["exit"], found["release"]) == ("INCONCLUSIVE", 3, "r0003")
    assert set(rig.revisions().values()) == {"v1"}


def test_shared_errors_weigh_on_both_arms_alike_and_convict_nobody(rig: Rig, tmp_path: Path) -> None:
    mix = tmp_path / "mix.json"
    calls = [
        {"weight": 99, "method": "GET", "host": "api.onlyvips.local", "path": "/api/badges/list"},
        {"weight": 1, "method": "GET", "host": "api.onlyvips.local", "path": "/api/payments/wallet"},
        {"weight": 30, "method": "GET", "host": "app.onlyvips.local", "path": "/"},
        {"weight": 30, "method": "GET", "host": "panel.onlyvips.local", "path": "/"},
    ]
    mix.write_text(json.dumps(calls))
    rig.load(900, "--mix", str(mix))
    release = rig.release("v2", steps=[{"weight": 50, "bake": "10s"}], patience="0s", watch="2s")
    view = next(v for v in release.evidence.judge.views() if v.service == "backend-api" and v.metric == "errors")
    assert release.outcome is not None
    assert release.outcome.verdict is not Verdict.FAIL
    for bad, total in ((view.canary_bad, view.canary_total), (view.stable_bad, view.stable_total)):
        assert total > 1000
        assert abs(bad / total - 0.01) < 4 * (0.01 * 0.99 / total) ** 0.5, (bad, total)


@pytest.mark.slice
def test_envoy_killed_while_baking_is_back_and_nothing_is_promoted_without_proof(rig: Rig) -> None:
    load = rig.load(400)
    killed: list[float] = []

    def kill(event: events.Event, release: Release) -> None:
        if isinstance(event, events.Sampled) and release.weight == 50 and release.evidence.baked >= 4 and not killed:
            killed.append(time.monotonic())
            os.kill(rig.envoy(), signal.SIGKILL)

    release = rig.release("v2", tell=kill, patience="4s")
    assert killed
    assert any("router had died" in note for note in release.noted)
    if release.phase is Phase.PROMOTED:
        assert release.outcome is not None
        assert release.outcome.reason == "promote"
    else:
        assert release.finished is not None
        assert release.finished.exit == 3
    result = load.stop()
    assert result["failed"] > 0
    assert result["max_gap_s"] < 2.5


def test_suite_that_asserts_nothing_releases_nothing(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "test_empty.py").write_text('"""Nothing."""\n')
    release = rig.release("v2", checks={"smoke": {"path": str(tmp_path)}}, **QUICK)
    assert release.finished is not None
    assert release.finished.exit == 3
    assert not any(isinstance(e, events.Shifted) and e.weight > 0 for e in rig.journal)


def test_release_whose_router_is_never_asked_fails(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnvoyRouter, "set_weight", lambda self, percent: None)
    release = rig.release("v2", **QUICK)
    assert release.phase is not Phase.PROMOTED


def test_interrupt_takes_users_back_and_leaves_nothing(rig: Rig) -> None:
    load = rig.load(200)
    told: list[str] = []
    with running(rig, "run", str(rig.write(rig.plan("v2")))) as child:
        assert child.stdout is not None
        for line in child.stdout:
            told.append(line)
            if "10 % of users" in line:
                threading.Timer(1.0, child.send_signal, (signal.SIGINT,)).start()
        assert child.wait(20) == 130, "".join(told)
    assert load.stop()["failed"] == 0
    assert set(rig.revisions().values()) == {"v1"}


def running(rig: Rig, *words: str) -> subprocess.Popen[str]:
    """The command, side by side with the test."""
    command = [sys.executable, "-m", "onlyvips_release", *words]
    return subprocess.Popen(command, env=rig.env, stdout=subprocess.PIPE, text=True)


def test_supervisor_brings_back_router_and_stable_in_two_seconds(rig: Rig) -> None:
    with running(rig, "up", "--foreground", str(rig.write(rig.plan("next")))) as child:
        assert child.stdout is not None
        try:
            while "users are served" not in child.stdout.readline():
                assert child.poll() is None
            for pid in (
                rig.envoy(),
                next(i.pid for i in rig.platform().target.workload.inspect() if i.service == "miniapp"),
            ):
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                begun = time.monotonic()
                while not served(rig):
                    assert time.monotonic() - begun < 2, "not back in 2 s"
                    time.sleep(0.02)
                time.sleep(0.6)
        finally:
            child.send_signal(signal.SIGINT)
        child.stdout.read()
        assert child.wait(10) == 130


def served(rig: Rig) -> bool:
    """Whether a user of the miniapp is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", rig.ports["router"], timeout=1)
    try:
        connection.request("GET", "/", headers={"Host": "app.onlyvips.local"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_second_controller_is_told_who_holds_the_platform(rig: Rig) -> None:
    seen: list[Any] = []

    def meanwhile(event: events.Event, release: Release) -> None:
        if isinstance(event, events.Shifted) and event.weight == 10:
            seen.append(rig.cli("run", str(rig.write(rig.plan("v3"), "other.yaml"))))
            seen.append(rig.cli("status", "--json"))

    rig.release("v2", tell=meanwhile, **QUICK)
    other, status = seen
    assert other.returncode == 7
    assert "pid" in other.stderr
    (row,) = json.loads(status.stdout)
    assert row["weight"] == 10
    assert row["held_by"].startswith("run by")


def test_plan_whose_stable_is_not_what_runs_is_refused_untouched(rig: Rig) -> None:
    rig.stable = "v7"
    done = rig.cli("run", str(rig.write(rig.plan("v8"))))
    assert done.returncode == 6
    assert "users are on v1" in done.stderr
    assert "what to do" in done.stderr


@pytest.mark.slice
def test_after_down_nothing_is_left() -> None:
    with Rig() as rig:
        rig.up()
        rig.load(100)
        rig.release("v2", accept="no_evidence_of_harm", **QUICK)
        folder = rig.folder
        for load in rig.loads:
            load.stop()
        assert rig.cli("down", str(rig.write(rig.plan("v3")))).returncode == 0
        deadline = time.monotonic() + 3
        while mine(folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert mine(folder) == []
        assert not (rig.state / "e2e" / "live" / "router" / "admin.sock").exists()
