"""`status`: what journals and leases say, quickly, and what it follows."""

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
from tests.testing.commands import call
from tests.testing.kept_releases import CASES, RELEASES, installed


def test_status_without_anything_says_what_to_do(tmp_path: Path) -> None:
    assert "onlyvips-release up" in call("status", state=tmp_path).stdout
    assert json.loads(call("status", "--json", state=tmp_path).stdout) == []


def test_status_of_a_platform_with_a_foreign_journal_says_so_and_goes_on(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "live").mkdir(parents=True)
    journal = tmp_path / "one" / "releases" / "r0001" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("not ours\n")
    done = call("status", state=tmp_path)
    assert done.returncode == 0
    assert "journal.jsonl:1: is no record of a release" in done.stdout
    assert "platform two" in done.stdout


def test_status_of_one_platform_leaves_the_others_out(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "live").mkdir(parents=True)
    done = CliRunner().invoke(main, ["status", "two", "--json"], env={"ONLYVIPS_STATE": str(tmp_path)})
    assert [row["platform"] for row in json.loads(done.output)] == ["two"]


@pytest.mark.slow
def test_status_watches_until_no_release_is_open(tmp_path: Path) -> None:
    state = installed(tmp_path, "promoted", "crashed")
    done = call("status", "--watch", "--timeout", "1s", state=state)
    assert done.returncode == 6
    assert "not over after 1s" in done.stderr
    assert done.stdout.count("r0004 BAKING") == 1
    assert "step 2 of: 10 % for 4 s, 50 % for 14 s" in done.stdout
    env = os.environ | {"ONLYVIPS_STATE": str(state)}
    command = [sys.executable, "-m", "onlyvips_release", "status", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as child:
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        undecided = RELEASES / "undecided" / CASES["undecided"]
        shutil.copytree(undecided, state / "e2e" / "releases" / "r0005")
        second = json.loads(child.stdout.readline())
        assert child.wait(10) == 0
    assert (first[0]["open"], second[0]["open"]) == (True, False)


@pytest.mark.slow
def test_duration_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    done = call("status", "--watch", "--timeout", "soon", state=tmp_path)
    assert done.returncode == 2
    assert "give a duration such as 30s" in done.stderr
