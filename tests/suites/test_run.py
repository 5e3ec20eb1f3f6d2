"""A suite as a process: its two clocks, its end, and what it leaves behind. pytest is played by a shell script."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.core.plan import Suite
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.core.reasons import SuiteReason
from onlyvips_release.core.suite import Access, SuiteContext
from onlyvips_release.suites.context import Targets
from onlyvips_release.suites.controller import Census, Controller
from onlyvips_release.suites.run import PytestChecks, PytestRun
from onlyvips_release.suites.secrets import Mask
from onlyvips_release.suites.stream import Deselected, Lost, Report
from tests.state.test_claims import HandClock

TOKEN = "5f0c1e7a9b3d2468ace013579bdf0246"
ACCESS = Access("http://127.0.0.1:1", "api.local", "/health", {"canary": f"canary-{TOKEN}"}, None, "an-admins-token")


def run(folder: Path, script: str, clock: HandClock, **env: str) -> PytestRun:
    """This shell script instead of pytest; $4 ... are pytest's arguments."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    env = {"PATH": "/usr/bin:/bin", **env}
    checks = PytestChecks(folder / "reports", {"api": ACCESS}, folder, str(python), clock, env, ["a-hidden-secret"])
    suite = Suite("checks", deadline=timedelta(seconds=90))
    return checks.start(SuiteRequest("smoke", suite, Arm.CANARY, 0, SuiteContext()))


def result(suite: PytestRun, *, within: float = 10) -> SuiteResult:
    """When it has one."""
    end = time.monotonic() + within
    while (found := suite.poll()) is None and time.monotonic() < end:
        time.sleep(0.01)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("seconds", "kind", "words"),
    [
        pytest.param([50, 50], SuiteReason.DEADLINE, "deadline of 90 s passed", id="too long"),
        pytest.param([61], SuiteReason.SILENCE, "no event for 60 s", id="too silent"),
    ],
)
def test_suite_that_takes_too_long_is_interrupted_and_no_pass(
    tmp_path: Path, seconds: list[int], kind: SuiteReason, words: str
) -> None:
    clock = HandClock()
    suite = run(tmp_path, 'trap "exit 0" INT; while true; do sleep 0.01; done', clock)
    time.sleep(0.05)
    for more in seconds:
        assert suite.poll() is None
        clock.at += more
        suite.last_event_at = clock.at if kind is SuiteReason.DEADLINE else suite.last_event_at
    found = result(suite)
    assert (found.verdict, found.kind) == (Verdict.INCONCLUSIVE, kind)
    assert words in found.reason


def test_suite_that_ignores_an_interrupt_is_terminated_then_killed(tmp_path: Path) -> None:
    clock = HandClock()
    suite = run(tmp_path, 'trap "" INT TERM; while true; do sleep 0.01; done', clock)
    time.sleep(0.05)
    for more in (100, 2.5, 1):
        assert suite.poll() is None
        clock.at += more
    assert result(suite).kind is SuiteReason.DEADLINE
    assert len(suite.sent) == 3


def ended(suite: PytestRun) -> None:
    """Wait for what goes on in the background."""
    for thread in suite.ends:
        thread.join(10)


def test_stopped_suite_ends_with_all_that_it_started_and_leaves_no_context(tmp_path: Path) -> None:
    suite = run(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; sleep 60", HandClock())
    scratch = suite.scratch
    assert (scratch / "context.json").exists()
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
        time.sleep(0.01)
    suite.stop()
    assert suite.poll() is not None
    ended(suite)
    assert suite.process.poll() is not None
    assert not suite.started.alive()
    assert not scratch.exists()
    child = int((tmp_path / "child").read_text())
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_suite_knows_the_release_and_no_other_target(tmp_path: Path) -> None:
    suite = run(
        tmp_path, f"env > {tmp_path}/env", HandClock(), ONLYVIPS_TARGET="http://elsewhere", ONLYVIPS_STABLE="x", OWN="y"
    )
    result(suite)
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name for name in env if name.startswith("ONLYVIPS")} == {"ONLYVIPS_CONTEXT"}
    assert env["OWN"] == "y"


def test_what_a_suite_leaves_has_no_secret_and_its_context_is_gone(tmp_path: Path) -> None:
    suite = run(tmp_path, f"echo {TOKEN} an-admins-token a-hidden-secret", HandClock())
    found = result(suite)
    assert (found.verdict, found.kind) == (Verdict.INCONCLUSIVE, SuiteReason.NO_STREAM)
    left = (Path(found.report) / "output.txt").read_text()
    assert left.split() == ["***"] * 3
    assert not suite.scratch.exists()
    assert not any(secret in found.reason for secret in (TOKEN, "an-admins-token", "a-hidden-secret"))


# --- what a run of pytest writes --------------------------------------------------------------------------------------


def test_event_stream_has_no_secret(tmp_path: Path) -> None:
    options = {"--release-events": str(tmp_path / "events.jsonl"), "--release-run": "r", "--min-passed": 1}
    config: Any = SimpleNamespace(getoption=options.get)
    controller = Controller(config, Census(Mask(["a-hidden-secret"])), Targets({}))
    controller.record(Report("t.py::test_a", "call", "failed", text="it said a-hidden-secret"))
    assert controller.file
    controller.file.close()
    written = (tmp_path / "events.jsonl").read_text()
    assert "it said ***" in written
    assert "a-hidden-secret" not in written


class Item:
    """As pytest collects it."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_tests_that_were_collected_and_neither_run_nor_deselected_are_lost() -> None:
    census = Census(Mask([]))
    for name in "abc":
        census.pytest_itemcollected(Item(name))  # type: ignore[arg-type]  # its id alone is asked for
    census.pytest_deselected([Item("b")])  # type: ignore[list-item]  # as above
    census.planned = ["c"]
    assert census.omissions() == [Deselected(("b",)), Lost(("a",))]
