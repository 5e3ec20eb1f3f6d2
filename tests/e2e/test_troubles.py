"""What else may happen to a release, for real: nobody comes, suites prove nothing, a router dies, Ctrl-C is pressed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Verdict
from onlyvips_release.traffic.envoy import EnvoyRouter
from tests.testing.platform_rig import QUICK, Rig, installed, mine

pytestmark = pytest.mark.slow

rig = pytest.fixture(installed)


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
