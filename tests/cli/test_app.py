"""The command line as a whole: quick where nothing heavy is needed, clear where something is wrong."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from onlyvips_release.cli import status
from onlyvips_release.cli.app import COMMANDS, main
from onlyvips_release.errors import Interrupted
from tests.testing.commands import call, imported, plan_file

OF_REPORTS = {"jinja2", "junitparser", "allure_commons"}
HEAVY = {"kubernetes", "docker", "httpx", "pydantic", "yaml", "numpy", "rich", "pytest", "onlyvips_release.platform"}
HEAVY |= OF_REPORTS
TABLE = {name: text for section in COMMANDS.values() for name, (_, text) in section.items()}


def command(name: str) -> click.Command:
    """Imported."""
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def examples(name: str) -> list[list[str]]:
    """Words behind the command's name in the examples of its help."""
    _, _, text = (command(name).help or "").partition("Example")
    calls = (line.split(f"onlyvips-release {name}")[1] for line in text.splitlines() if "onlyvips-release" in line)
    return [shlex.split(re.split(r" > |\)\"$", call)[0]) for call in calls]


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("status",), ("recover",), ("run", "--help")], ids=" ".join
)
def test_quick_commands_import_nothing_heavy(words: tuple[str, ...], tmp_path: Path) -> None:
    assert not HEAVY & imported(*words, state=tmp_path)


def test_release_needs_no_library_of_its_report_before_the_report_is_written() -> None:
    code = "import onlyvips_release.cli.release, onlyvips_release.platform, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "onlyvips_release.reporting.folder" in modules
    assert not OF_REPORTS & set(modules)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("nope",)], ids=" ".join)
def test_help_imports_no_command(words: tuple[str, ...], tmp_path: Path) -> None:
    ours = {name for name in imported(*words, state=tmp_path) if name.startswith("onlyvips_release.cli.")}
    assert ours == {"onlyvips_release.cli.app", "onlyvips_release.cli.options"}


def test_help_teaches_the_first_steps_and_the_exit_codes(tmp_path: Path) -> None:
    told = call("--help", state=tmp_path).stdout
    assert "onlyvips-release demo" in told
    for code in (0, 1, 2, 3, 4, 5, 6, 7):
        assert re.search(rf"^\s+{code}  |\s{code}  ", told), code


def test_help_names_every_command_on_one_line_and_no_hidden_one(tmp_path: Path) -> None:
    lines = call("--help", state=tmp_path).stdout.splitlines()
    for name, text in TABLE.items():
        assert f"  {name:<10}  {text}" in lines
    assert not [line for line in lines if line.split()[:1] == ["guardian"]]


@pytest.mark.parametrize("name", TABLE)
def test_line_of_a_command_in_help_is_the_first_sentence_of_its_own_help(name: str) -> None:
    assert command(name).name == name
    assert (command(name).help or "").splitlines()[0] == TABLE[name]


@pytest.mark.parametrize("name", TABLE)
def test_help_of_a_command_has_an_example_which_its_parser_takes(name: str) -> None:
    assert examples(name)
    for words in examples(name):
        command(name).make_context(name, words)


@pytest.mark.parametrize("name", ["run", "pause", "resume", "promote", "abort", "recover", "rollback"])
def test_help_of_a_command_that_ends_a_release_explains_the_exit_codes(name: str, tmp_path: Path) -> None:
    assert "4  not confirmed: page a person" in CliRunner().invoke(main, [name, "--help"]).output


@pytest.mark.parametrize(
    ("word", "near"), [("statsu", "'status'"), ("rolback", "'rollback'"), ("xyz", None)], ids=["swap", "gap", "none"]
)
def test_unknown_command_is_wrong_usage_and_names_the_nearest(word: str, near: str | None) -> None:
    done = CliRunner().invoke(main, [word])
    assert done.exit_code == 2
    assert f"No such command '{word}'." in done.output
    assert ("Did you mean" in done.output) == (near is not None)
    assert (near or "") in done.output


def test_wrong_usage_is_exit_2(tmp_path: Path) -> None:
    assert call("nope", state=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("beginning", "names"),
    [("re", {"recover", "replay", "report", "resume"}), ("", set(TABLE)), ("--v", {"--version"})],
)
def test_completion_knows_commands_and_options(beginning: str, names: set[str]) -> None:
    found = ShellComplete(main, {}, "onlyvips-release", "_X").get_completions([], beginning)
    assert {item.value for item in found} == names
    assert all(item.help == TABLE.get(item.value, item.help) for item in found)


def test_completion_of_a_command_knows_its_options() -> None:
    found = ShellComplete(main, {}, "onlyvips-release", "_X").get_completions(["run"], "--")
    assert {"--events", "--timeout", "--json"} <= {item.value for item in found}


def test_completion_imports_no_command() -> None:
    env = os.environ | {"_X_COMPLETE": "bash_complete", "COMP_WORDS": "x ", "COMP_CWORD": "1"}
    code = "import sys, contextlib\nfrom onlyvips_release.cli.app import main\n"
    code += "with contextlib.suppress(SystemExit):\n    main(prog_name='x', complete_var='_X_COMPLETE')\n"
    code += "sys.exit(' '.join(name for name in sys.modules if name.startswith('onlyvips_release.cli.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert "plain,run" in done.stdout
    assert done.stderr.split() == ["onlyvips_release.cli.options", "onlyvips_release.cli.app"]


@pytest.mark.parametrize(("error", "code"), [(Interrupted(2), 130), (Interrupted(15), 143), (KeyboardInterrupt(), 130)])
def test_interrupted_command_exits_with_its_signal(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise error

    monkeypatch.setattr(status, "overview", interrupt)
    done = CliRunner().invoke(main, ["status"])
    assert done.exit_code == code
    assert "interrupted" in done.output


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
