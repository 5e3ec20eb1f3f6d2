"""The commands of a release: begin it, ask something of it, undo it; and how each of them ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from onlyvips_release.cli import options
from onlyvips_release.cli.lookup import load_platform, open_platform, released_platform
from onlyvips_release.cli.options import echo_line
from onlyvips_release.cli.progress import abort_after, report_lines, show_progress
from onlyvips_release.core.events import Phase, Requested
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import caller
from onlyvips_release.errors import Refused
from onlyvips_release.overview import platform as describe_platform
from onlyvips_release.reporting.summary import summary
from onlyvips_release.reporting.wording import one_line
from onlyvips_release.state.layout import Layout

if TYPE_CHECKING:
    from onlyvips_release.platform import Platform

SEE_STATUS = "see `onlyvips-release status`"


@click.command(epilog=options.EXIT_CODES)
@options.PLAN
@options.carries_out
@options.UNTIL
@click.option("--events", "stream", type=click.Path(path_type=Path), help="Write each event there, as a JSON line.")
@options.TIMEOUT
def run(
    plan: Path, as_json: bool, guardian: bool, until: str | None, stream: Path | None, timeout: float | None
) -> None:
    """Release the canary revisions of PLAN.

    It ends when they are promoted or rolled back. In CI write `exec onlyvips-release run`: without exec a cancelled job
    never reaches it. `--timeout` aborts the release as `abort` does: back before the point of no return, after it to
    the end.

    \b
    Examples:
      onlyvips-release run release.yaml
      onlyvips-release run release.yaml --timeout 45m --json --events events.jsonl
      onlyvips-release run release.yaml --until paused
    """
    platform = load_platform(plan)
    with show_progress(platform, as_json=as_json, stream=stream) as show, abort_after(platform, timeout):
        release = platform.run(show, until_paused=until == "paused", guardian=guardian)
    finish(platform, release, as_json)


def request_command(described: Callable[[], None]) -> click.Command:
    """Build a command that is sent to the controller of the open release, or carried out here if none is running.

    `described`: a function with the command's name and help.
    """
    what = described.__name__

    @click.command(name=what, help=described.__doc__, epilog=options.EXIT_CODES)
    @options.PLATFORM
    @options.REASON
    @options.carries_out
    @options.UNTIL
    def command(platform: str, reason: str, as_json: bool, guardian: bool, until: str | None) -> None:
        target, request = released_platform(platform), Requested(what, caller(), reason=reason)
        if target.ask(request):
            message = f"the running release has taken the request `{what}`"
            if what == "abort":
                echo_line(f"{message}; waiting for its end", err=True)
                finish_abort(target, target.wait(), as_json)
            echo_line(message, err=as_json)
            return
        if what == "pause":
            report_pause(target)
        with show_progress(target, as_json=as_json) as show:
            release = target.take_over(request, show, until_paused=until == "paused", guardian=guardian)
        if what == "abort":
            finish_abort(target, release, as_json)
        if release is None:
            raise Refused("no release is unfinished", remedy=SEE_STATUS)
        finish(target, release, as_json)

    return command


@request_command
def pause() -> None:
    """Hold the running release at its weight.

    Its judge goes on: a bad canary is rolled back also while it is paused. PLAN: the plan file, or the platform's name.

    \b
    Example:
      onlyvips-release pause release.yaml --reason "lunch"
    """


@request_command
def resume() -> None:
    """Go on with a release that is paused, or whose controller died.

    An unfinished step begins again. PLAN: the plan file, or the platform's name.

    \b
    Example:
      onlyvips-release resume release.yaml
    """


@request_command
def promote() -> None:
    """Promote the open release now, unless evidence is against it.

    The rest of its steps is left out; a canary that is proven bad is not promoted. PLAN: the plan file, or the
    platform's name.

    \b
    Example:
      onlyvips-release promote release.yaml --reason "seen by eye"
    """


@request_command
def abort() -> None:
    """Roll the open release back.

    It returns when users are on stable. Nothing to abort is no error: exit 0. It never asks, because seconds count.
    PLAN: the plan file, or the platform's name.

    \b
    Example:
      onlyvips-release abort release.yaml --reason "customers complain"
    """


@click.command(epilog=options.EXIT_CODES)
@options.PLATFORM
@click.option("--to", metavar="RELEASE", help="A release such as r0007, or a revision; default: what served before.")
@click.option("--list", "only_list", is_flag=True, help="Only show what can be restored.")
@options.REASON
@options.JSON
@options.YES
@options.GUARD
def rollback(
    platform: str, to: str | None, only_list: bool, reason: str, as_json: bool, yes: bool, guardian: bool
) -> None:
    """Bring an older revision back after a promotion.

    No request fails, and there is no bake. It undoes the newest promotion, and nothing more when it is repeated: then
    it prints how to go further. A person at a terminal is asked first. PLAN: the plan file, or the platform's name.

    \b
    Examples:
      onlyvips-release rollback release.yaml
      onlyvips-release rollback release.yaml --to r0007 --reason "orders are lost" --yes
    """
    target = released_platform(platform)
    if only_list:
        lines = target.restorable()
        echo_line(json.dumps(lines, indent=1) if as_json else "\n".join(lines) or "users were never on anything else")
        return
    options.confirm(f"Take all users of {target.plan.platform} to {to or 'what served before'}?", yes)
    with show_progress(target, as_json=as_json) as show:
        release = target.rollback(to, reason, show, guardian=guardian, tell=partial(echo_line, err=as_json))
    if release is not None:
        finish(target, release, as_json)


def end_unfinished(layout: Layout, as_json: bool, guardian: bool) -> int | None:
    """End the open release of the platform in this state folder (`recover`); its exit code, None = there is none."""
    platform = open_platform(layout)
    if platform is None:
        return None  # a crash before its first release began
    with show_progress(platform, as_json=as_json) as show:
        release = platform.take_over(Requested("recover", caller()), show, guardian=guardian)
    return None if release is None else report_end(platform, release, as_json)


def report_pause(platform: Platform) -> NoReturn:
    """`pause` without a running controller: fine if the release is already paused, otherwise refuse."""
    row = describe_platform(platform.layout, platform.environment)
    if row.get("phase") != "PAUSED" or row["exit"] is None:
        raise Refused("no command works on a release that could be paused", remedy=SEE_STATUS)
    echo_line(f"{row['release']} is paused already")
    sys.exit(0)


def finish_abort(platform: Platform, release: Release | None, as_json: bool) -> NoReturn:
    """End of `abort`: 0 when users are on stable, or no release was open."""
    if release is None or (release.phase is Phase.ROLLED_BACK and release.finished):
        echo_line("nothing is left to abort: users are on stable", err=as_json)
        sys.exit(0)
    finish(platform, release, as_json)


def finish(platform: Platform, release: Release, as_json: bool) -> NoReturn:
    """Print how a release ended, and exit with its code."""
    sys.exit(report_end(platform, release, as_json))


def report_end(platform: Platform, release: Release, as_json: bool) -> int:
    """Where the reports are, the verdict as the last line (or as JSON), with 4 what helps by hand; the exit code."""
    row = summary(release, "", "")
    code = int(row["exit"]) if row["exit"] is not None else 1
    for line in report_lines(platform, release, brief=code > 128):
        echo_line(line, err=as_json)
    if as_json:
        echo_line(json.dumps(row, ensure_ascii=False))
    else:
        echo_line(one_line(f"{row['release']} {row['verdict']}: {row['sentence']}"))
    if code == 4:
        echo_line(f"to take users to the safe side without this tool:\n{platform.by_hand(release)}", err=True)
    return code
