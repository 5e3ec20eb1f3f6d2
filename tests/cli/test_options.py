"""What commands share: whom they ask, and what a lost reader changes (nothing)."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from onlyvips_release.cli.app import COMMANDS, main

ASK = "from onlyvips_release.cli.options import confirm; confirm('Sure?', {yes}); print('done')"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
PRINT = "import sys; from onlyvips_release.cli.options import echo_line; [echo_line('x') for _ in range(99)]"


def at_terminal(answer: str, *, yes: bool = False, ci: str = "") -> tuple[int, str]:
    """Exit code and screen of a question whose answer is typed; a Refused ends with 1 here."""
    main_end, side = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": ci} if ci else {})
    words = [sys.executable, "-c", ASK.format(yes=yes)]
    with subprocess.Popen(words, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True) as child:
        os.close(side)
        os.write(main_end, answer.encode())
        screen = b""
        while True:
            try:
                screen += os.read(main_end, 65536)
            except OSError:
                break
        code = child.wait(20)
    os.close(main_end)
    return code, screen.decode()


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)], ids=["y", "n", "", "EOF"]
)
def test_person_at_a_terminal_is_asked_and_only_yes_goes_on(answer: str, code: int) -> None:
    found, screen = at_terminal(answer)
    assert "Sure? [y/N]" in screen
    assert found == code
    assert ("done" in screen) == (code == 0)
    assert ("nothing was touched" in screen) == (code == 1)


@pytest.mark.parametrize(("yes", "ci"), [(True, ""), (False, "true")], ids=["--yes", "CI with a terminal"])
def test_nobody_is_asked_with_yes_or_in_ci(yes: bool, ci: str) -> None:
    code, screen = at_terminal("", yes=yes, ci=ci)
    assert (code, screen.strip()) == (0, "done")


def test_nobody_is_asked_without_a_terminal() -> None:
    words = [sys.executable, "-c", ASK.format(yes=False)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    "name", ["run", "recover", "up", "down", "abort", "pause", "resume", "promote", "rollback", "freeze", "unfreeze"]
)
def test_yes_is_accepted_by_every_command_that_changes_something(name: str) -> None:
    command = main.get_command(main.make_context("x", [name]), name)
    assert command is not None
    words = ["--reason", "x"] if name == "freeze" else []
    with command.make_context(name, ["--yes", *words, "release.yaml"]):
        pass
    shown = "-y, --yes" in CliRunner().invoke(main, [name, "--help"]).output
    assert shown == (name in ("down", "rollback"))
    assert name in {known for section in COMMANDS.values() for known in section}


def test_reader_that_has_gone_changes_no_exit_code() -> None:
    words, pipe = [sys.executable, "-c", PRINT], subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, env=BUFFERED) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.wait(20) == 0
        assert child.stderr.read() == b""


def test_full_disk_behind_stdout_changes_no_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        words, pipe = [sys.executable, "-c", PRINT], subprocess.PIPE
        done = subprocess.run(words, stdout=full, stderr=pipe, env=BUFFERED, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("text", "code"), [("1h30m", 0), ("0s", 0), ("soon", 2), ("90", 2)])
def test_timeout_is_a_duration_with_a_unit(text: str, code: int, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["status", "--timeout", text], env={"ONLYVIPS_STATE": str(tmp_path)})
    assert done.exit_code == code
    assert ("give a duration such as 30s" in done.output) == (code == 2)
