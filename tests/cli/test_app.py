"""The command line: quick where nothing heavy is needed, clear where something is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"kubernetes", "docker", "httpx", "pydantic", "yaml", "numpy", "rich", "pytest", "onlyvips_release.platform"}


def call(*words: str, state: Path) -> subprocess.CompletedProcess[str]:
    """The command in a state folder of its own."""
    env = os.environ | {"ONLYVIPS_STATE": str(state)}
    command = [sys.executable, "-m", "onlyvips_release", *words]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("status",), ("run", "--help")], ids=" ".join)
def test_quick_commands_import_nothing_heavy(words: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys, contextlib\nfrom onlyvips_release.cli.app import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({list(words)!r})\n"
        f"sys.stderr.write('heavy: ' + str({HEAVY!r} & set(sys.modules)))"
    )
    env = os.environ | {"ONLYVIPS_STATE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stderr.endswith("heavy: set()"), done.stderr


def test_help_teaches_the_first_steps_and_the_exit_codes(tmp_path: Path) -> None:
    told = call("--help", state=tmp_path).stdout
    assert "onlyvips-release demo" in told
    for code in (0, 1, 2, 3, 4, 5, 6, 7):
        assert re.search(rf"^\s+{code}  |\s{code}  ", told), code


def test_unreadable_plan_is_exit_2_with_its_places_and_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text("version: 1\nplatfrom: x\n")
    done = call("run", str(path), state=tmp_path / "state")
    assert done.returncode == 2
    assert f"{path}:2:1: platfrom: unknown key 'platfrom', did you mean 'platform'?" in done.stderr
    assert "what to do" in done.stderr
    assert not (tmp_path / "state").exists()


def test_run_before_up_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    path = plan_file(tmp_path)
    done = call("run", str(path), state=tmp_path / "state")
    assert done.returncode == 6
    assert "onlyvips-release up" in done.stderr


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


def test_unit_for_systemd_runs_the_supervisor(tmp_path: Path) -> None:
    told = call("up", "--systemd", str(plan_file(tmp_path)), state=tmp_path / "state").stdout
    assert "up --foreground" in told
    assert "Restart=always" in told


def test_wrong_usage_is_exit_2(tmp_path: Path) -> None:
    assert call("nope", state=tmp_path).returncode == 2


def plan_file(folder: Path) -> Path:
    """A plan that nobody installed."""
    path = folder / "release.yaml"
    path.write_text(
        "version: 1\nplatform: shop\nservices:\n  api:\n    health: {path: /h}\n    process: {ports: [18310, 18311]}\n"
        '    stable: {revision: v1, command: [a, "{port}"]}\n    canary: {revision: v2, command: [b, "{port}"]}\n'
    )
    return path
