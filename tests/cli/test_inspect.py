"""Commands that only read: plans, reports, schemas, the completion script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from onlyvips_release.cli.app import main
from tests.testing.commands import call, plan_file
from tests.testing.kept_releases import CASES, RELEASES, installed


def test_plan_names_the_calls_that_count_as_business_and_says_nothing_where_there_are_none(tmp_path: Path) -> None:
    path = plan_file(tmp_path)
    assert "business" not in call("plan", str(path), state=tmp_path / "state").stdout
    path.write_text(path.read_text() + "    business: [POST /buy]\n")
    assert "business calls: POST /buy" in call("plan", str(path), state=tmp_path / "state").stdout


def test_plan_shows_what_a_release_would_do_and_touches_nothing(tmp_path: Path) -> None:
    done = call("plan", str(plan_file(tmp_path)), state=tmp_path / "state")
    assert done.returncode == 0
    assert "api: v1 -> v2" in done.stdout
    assert "10 % of users for 0:30:00" in done.stdout
    assert not (tmp_path / "state").exists()


def test_plan_as_json_is_the_whole_plan(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["plan", str(plan_file(tmp_path)), "--json"], env={"ONLYVIPS_STATE": str(tmp_path)})
    found = json.loads(done.output)
    assert [(one["name"], one["canary"]["name"]) for one in found["services"]] == [("api", "v2")]


def test_replay_as_json_holds_the_decision_and_the_recorded_end() -> None:
    journal = RELEASES / "rolled-back-by-errors" / CASES["rolled-back-by-errors"] / "journal.jsonl"
    done = CliRunner().invoke(main, ["replay", str(journal), "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.output)) == {"release", "decided", "tick", "sentence", "recorded"}


@pytest.mark.slow
def test_report_of_any_release_is_drawn_again(tmp_path: Path) -> None:
    state = installed(tmp_path, "promoted", "crashed")
    done = call("report", state=state, PATH="/bin")  # without Node
    page = tmp_path / "reports" / "e2e" / "r0004" / "report.html"
    assert done.stdout.splitlines()[0] == f"report: {page}", done.stderr
    assert "<h1>Not finished</h1>" in page.read_text()
    assert "Allure HTML left out" in done.stdout or shutil.which("node", path="/bin")
    assert call("report", "r0001", "--platform", "e2e", state=state, PATH="/bin").returncode == 0
    assert "<h1>Promoted</h1>" in (page.parents[1] / "r0001" / "report.html").read_text()
    missing = call("report", "r0009", state=state)
    assert missing.returncode == 6
    assert "what to do: onlyvips-release status" in missing.stderr


@pytest.mark.slow
def test_schema_of_a_plan_knows_its_keys_and_refuses_others(tmp_path: Path) -> None:
    found = json.loads(call("schema", state=tmp_path).stdout)
    assert {"version", "platform", "services", "steps", "judge"} <= set(found["properties"])
    assert found["additionalProperties"] is False
    summary = json.loads(call("schema", "summary", state=tmp_path).stdout)
    assert set(summary["properties"]) >= {"version", "verdict", "sentence"}


@pytest.mark.slow
def test_completion_of_bash_knows_the_commands() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = 'eval "$(onlyvips-release completion bash)"; complete -p onlyvips-release'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={"PATH": path}, check=True)
    assert "_onlyvips_release_completion" in done.stdout
    env = {"PATH": path, "_ONLYVIPS_RELEASE_COMPLETE": "bash_complete", "COMP_WORDS": "onlyvips-release re"}
    done = subprocess.run(
        ["onlyvips-release"], capture_output=True, text=True, env=env | {"COMP_CWORD": "1"}, check=True
    )
    assert {"plain,recover", "plain,report", "plain,resume"} <= set(done.stdout.split())
