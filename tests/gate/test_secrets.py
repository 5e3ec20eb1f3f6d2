"""The pin's token stays out of what a suite leaves behind, also when its tests fail."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.checks import PytestChecks
from onlyvips_release.clock import SystemClock
from onlyvips_release.model import Arm, Verdict
from onlyvips_release.plan import Suite
from onlyvips_release.ports import SuiteRequest

TOKEN = "5ec2e7" * 5 + "aa"
SUITE = """
def test_fails(service, api):
    assert api.get("/nothing-listens-here").status_code == 200
"""


@pytest.mark.slow
def test_token_is_in_no_artefact_of_a_failed_suite_and_a_leftover_target_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    static = {
        "services": {
            "web": {
                "url": "http://127.0.0.1:9",
                "host": "web",
                "health": "/",
                "pins": {"canary": f"canary-{TOKEN}", "stable": f"stable-{TOKEN}"},
                "identity": None,
            }
        }
    }
    env = os.environ | {"ONLYVIPS_TARGET": "http://127.0.0.1:1"}
    clock = SystemClock()
    checks = PytestChecks(tmp_path / "reports", static, tmp_path, sys.executable, clock, env)
    known = {"services": {"web": {"routed": True, "revisions": {"stable": "v1", "canary": "v2"}, "instances": []}}}
    run = checks.start(SuiteRequest("smoke", Suite(str(tmp_path), timedelta(seconds=20)), Arm.CANARY, 0, known))
    while (result := run.poll()) is None:
        clock.sleep(0.05)
    run.process.wait(10)
    assert result.verdict is Verdict.FAIL
    kept = [path for path in (tmp_path / "reports").rglob("*") if path.is_file()]
    assert {"events.jsonl", "junit.xml", "output.txt"} <= {path.name for path in kept}
    assert "test_fails[web]" in result.reason
    for path in kept:
        assert TOKEN not in path.read_text(errors="replace"), path
