"""The commands between releases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from onlyvips_release.cli import platform as commands
from onlyvips_release.cli.app import main
from onlyvips_release.core.model import SuiteResult, Verdict
from onlyvips_release.core.reasons import SuiteReason
from onlyvips_release.errors import Refused
from onlyvips_release.platform import Platform
from tests.testing.commands import call, plan_file


def test_unit_for_systemd_runs_the_supervisor(tmp_path: Path) -> None:
    told = call("up", "--systemd", str(plan_file(tmp_path)), state=tmp_path / "state").stdout
    assert "up --foreground" in told
    assert "Restart=always" in told


def test_down_without_consent_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    stopped: list[str] = []

    def refuse(question: str, yes: bool) -> None:
        asked.append((question, yes))
        if not yes:
            raise Refused("you did not agree")

    monkeypatch.setattr(commands, "confirm", refuse)
    monkeypatch.setattr(Platform, "down", lambda self, _: stopped.append(self.plan.platform))
    monkeypatch.setenv("ONLYVIPS_STATE", str(tmp_path / "state"))
    path = str(plan_file(tmp_path))
    assert CliRunner().invoke(main, ["down", path]).exit_code == 6
    assert stopped == []
    assert CliRunner().invoke(main, ["down", path, "--yes"]).exit_code == 0
    assert stopped == ["shop"]
    assert [("shop" in question, yes) for question, yes in asked] == [(True, False), (True, True)]


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 6), (Verdict.INCONCLUSIVE, 6)], ids=str
)
def test_check_exits_by_its_verdict(
    verdict: Verdict, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: Platform, suite: str, arm: str) -> SuiteResult:
        return SuiteResult(suite, arm, 0, verdict, "as it is", kind=SuiteReason.MISSING)  # type: ignore[arg-type]

    monkeypatch.setattr(Platform, "check", check)
    monkeypatch.setenv("ONLYVIPS_STATE", str(tmp_path / "state"))
    done = CliRunner().invoke(main, ["check", str(plan_file(tmp_path)), "smoke", "--arm", "canary", "--json"])
    assert done.exit_code == code
    row = {"suite": "smoke", "arm": "canary", "verdict": str(verdict), "kind": "missing", "reason": "as it is"}
    assert row.items() <= json.loads(done.output).items()


def test_frozen_platform_says_why_in_status_until_it_is_unfrozen(tmp_path: Path) -> None:
    env = {"ONLYVIPS_STATE": str(tmp_path)}
    (tmp_path / "shop" / "live").mkdir(parents=True)
    for name, frozen in (("freeze", True), ("unfreeze", False)):
        words = [name, "shop", *(["--reason", "holidays"] if frozen else [])]
        assert CliRunner().invoke(main, words, env=env).exit_code == 0
        assert ("FROZEN: holidays" in CliRunner().invoke(main, ["status"], env=env).output) == frozen
