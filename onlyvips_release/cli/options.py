"""What several commands share: arguments and options, exit codes, how an error looks, a question, a line of output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, ParamSpec

import click

from onlyvips_release.environment import read_environment
from onlyvips_release.errors import Interrupted, PlanError, Refused, ReleaseError

EXIT_CODES = """\b
Exit codes:
  0  promoted, or done              4  not confirmed: page a person
  1  error of the tool, users are   5  paused, waits for approval
     proven on stable               6  refused or check failed; nothing touched
  2  wrong usage or plan            7  another command holds the platform
  3  rolled back, confirmed         130/143  interrupted, users proven on stable"""


def seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Of a duration such as 30s, 5m or 1h30m; text that is none is wrong usage."""
    if value is None:
        return None
    from onlyvips_release.core.keys import duration  # noqa: PLC0415 - only commands with a duration need it

    try:
        return duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


P = ParamSpec("P")

PLAN = click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN")
PLATFORM = click.argument("platform", metavar="PLAN")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr.")
TIMEOUT = click.option("--timeout", callback=seconds, metavar="DURATION", help="At most so long, e.g. 45m.")
REASON = click.option("--reason", default="", help="Why; it is kept in the journal with your name.")
GUARD = click.option(
    "--guardian/--no-guardian", default=True, help="Without it nobody takes users back when this command is killed."
)
UNTIL = click.option("--until", type=click.Choice(["paused"]), help="End with 5 at the first pause, users on stable.")
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask. (Only a person at a terminal is asked, never CI.)")
NEVER_ASKS = click.option("--yes", "-y", is_flag=True, hidden=True, expose_value=False, help="Nothing is asked here.")
"""`--yes` is accepted where nothing is asked, so that a pipeline may give it to every command."""


def carries_out(command: Callable[P, None]) -> Callable[P, None]:
    """The options of every command that may carry out a release: `--json`, `--yes`, `--guardian`."""
    return JSON(NEVER_ASKS(GUARD(command)))


def print_error(error: ReleaseError) -> int:
    """Print what happened and what to do; the exit code."""
    if isinstance(error, Interrupted):
        click.echo(f"error: interrupted by {error}; the command is not complete", err=True)
        click.echo("  what to do: run it again, it goes on where it was; see `onlyvips-release status`", err=True)
        return 128 + error.signal_number
    click.echo(error if isinstance(error, PlanError) else f"error: {error}", err=True)
    if error.remedy:
        click.echo(f"  what to do: {error.remedy}", err=True)
    return error.exit_code


def confirm(question: str, yes: bool) -> None:
    """Ask a person at a terminal; a pipe, a file or a CI system is never asked, even where it lends us a terminal.

    Raises Refused unless the answer is yes: nothing was touched.
    """
    if yes or read_environment().variables.get("CI") or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    agreed = False
    with contextlib.suppress(click.Abort):  # Ctrl-C, or the end of the input
        agreed = click.confirm(question, err=True)
    if not agreed:
        raise Refused("you did not agree; nothing was touched", remedy="answer y, or give --yes")


def echo_line(text: str, *, err: bool = False) -> None:
    """Print one line at once; without a reader this does nothing."""
    echo_to(sys.stderr if err else sys.stdout, text)


def echo_to(stream: IO[str], text: str) -> None:
    """The same to any stream."""
    try:
        click.echo(text, file=stream)
    except OSError:
        silence(stream)


def silence(stream: IO[str]) -> None:
    """Discard what is written to a stream that has failed: its reader has gone, or its disk is full.

    A release goes on without being watched, its journal holds everything, and its exit code is its own: Python would
    exit with another one if it could not flush the stream at its end.
    """
    with contextlib.suppress(OSError):  # a stream without a descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
