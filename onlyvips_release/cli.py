"""The command line: parse, call, print, exit code. It decides nothing, and imports what is slow only where needed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from onlyvips_release import __version__
from onlyvips_release.errors import PlanError, ReleaseError

if TYPE_CHECKING:
    from onlyvips_release import events
    from onlyvips_release.lifecycle import Release
    from onlyvips_release.wiring import Platform

EXIT_CODES = """\b
Exit codes:
  0  promoted, or done              4  not confirmed: page a person
  1  error of the tool, users are   5  paused, waits for approval
     proven on stable               6  refused or check failed; nothing touched
  2  wrong usage or plan            7  another command holds the platform
  3  rolled back, confirmed         130/143  interrupted, users proven on stable"""

PLAN = click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr.")
YES = click.option("--yes", "-y", is_flag=True, help="Accepted everywhere; nothing ever asks.")


class Group(click.Group):
    """Our errors become one clear message and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ReleaseError as error:
            fail(error)


def fail(error: ReleaseError) -> NoReturn:
    """Say what happened and what to do, and end with the error's code."""
    from onlyvips_release.errors import Interrupted  # noqa: PLC0415

    code = 128 + error.signal_number if isinstance(error, Interrupted) else error.exit_code
    kind = "" if isinstance(error, PlanError) else "error: "
    click.echo(f"{kind}{error}", err=True)
    if error.remedy:
        click.echo(f"  what to do: {error.remedy}", err=True)
    sys.exit(code)


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onlyvips-release")
def main() -> None:
    """Take a new version of a platform to production without hurting its users.

    A release puts the new version beside the old one, smoke-tests it at 0 % of the traffic, gives it a small share,
    watches, and then promotes it or rolls it back, saying why.

    \b
    First time:    onlyvips-release demo
    Your platform: onlyvips-release up release.yaml     (router and the stable version)
                   onlyvips-release plan release.yaml   (what a release would do)
                   onlyvips-release run release.yaml    (the release)
    """


@main.command(epilog=EXIT_CODES)
@PLAN
@JSON
@YES
def run(plan: Path, as_json: bool, yes: bool) -> None:
    """Release the canary revisions of PLAN; ends when they are promoted or rolled back.

    In CI write `exec onlyvips-release run …`: without exec a cancelled job never tells it to roll back.
    """
    platform = opened(plan)
    finish(platform.run(printer(as_json)), as_json)


@main.command()
@PLAN
@JSON
@YES
def recover(plan: Path, as_json: bool, yes: bool) -> None:
    """End an unfinished release that nobody works on: users back on stable, then clean-up. Safe to repeat."""
    release = opened(plan).recover(printer(as_json))
    if release is None:
        click.echo("nothing is unfinished", err=as_json)
        return
    finish(release, as_json)


@main.command()
@PLAN
@YES
@click.option("--foreground", is_flag=True, help="Stay, and start again what dies, until Ctrl-C.")
@click.option("--systemd", is_flag=True, help="Print a systemd unit that runs `up --foreground`, and do nothing else.")
def up(plan: Path, yes: bool, foreground: bool, systemd: bool) -> None:
    """Start the router and the stable version of every service, and prove them (also after a reboot)."""
    if systemd:
        click.echo(unit(plan))
        return
    platform = opened(plan)
    platform.up(said)
    said("users are served; between releases nobody supervises this unless `up --foreground` does")
    if foreground:
        platform.supervise(said)


@main.command()
@PLAN
@YES
def down(plan: Path, yes: bool) -> None:
    """Stop the router and all services of PLAN. Journals, reports and logs stay."""
    opened(plan).down(said)


@main.command()
@PLAN
@click.argument("suite", type=click.Choice(["smoke", "canary"]))
@click.option("--arm", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@JSON
def check(plan: Path, suite: str, arm: str, as_json: bool) -> None:
    """Run one suite once against what runs; no traffic is moved. Exit 0 on PASS, else 6."""
    from onlyvips_release.model import Arm, Verdict  # noqa: PLC0415

    result = opened(plan).check(suite, Arm(arm))
    told = {
        "suite": suite,
        "arm": arm,
        "verdict": str(result.verdict),
        "reason": result.reason,
        "report": result.report,
    }
    click.echo(json.dumps(told) if as_json else f"{result.verdict}: {result.reason}\n  report: {result.report}")
    sys.exit(0 if result.verdict is Verdict.PASS else 6)


@main.command()
@PLAN
@JSON
def plan(plan: Path, as_json: bool) -> None:
    """Read PLAN and show what a release would do; nothing is touched (`run --dry-run` of other tools)."""
    from onlyvips_release.planfile import load  # noqa: PLC0415
    from onlyvips_release.plantext import describe  # noqa: PLC0415

    found, _ = load(plan)
    if as_json:
        from onlyvips_release.plancodec import encode  # noqa: PLC0415

        click.echo(json.dumps(encode(found), indent=1))
        return
    click.echo(describe(found))


@main.command()
@click.argument("platform", required=False)
@JSON
def status(platform: str | None, as_json: bool) -> None:
    """Where every platform of this machine stands, from its journal and lease alone (PLATFORM: only that one)."""
    from onlyvips_release.overview import overview, text  # noqa: PLC0415
    from onlyvips_release.place import find_place  # noqa: PLC0415

    found = [row for row in overview(find_place().state) if platform in (None, row["platform"])]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo("\n".join(text(row) for row in found) or "no platform is installed: onlyvips-release up PLAN")


def request(what: str, help_text: str) -> click.Command:
    """A command that leaves a wish for the running release."""

    @click.command(name=what, help=help_text)
    @PLAN
    @YES
    def ask(plan: Path, yes: bool) -> None:
        opened(plan).ask(what)
        said(f"{what} was asked; the running release acts at its next beat")

    return ask


for name, words in {
    "abort": "Roll the running release back.",
    "pause": "Hold the running release at its weight.",
    "resume": "Go on with a paused release.",
    "promote": "Promote the running release now, unless something speaks against it.",
}.items():
    main.add_command(request(name, words))


@main.command()
@PLAN
@JSON
def doctor(plan: Path, as_json: bool) -> None:
    """Look for what stands in the way of a release of PLAN; nothing is touched. Exit 0, or 6 with a problem."""
    from dataclasses import asdict  # noqa: PLC0415

    from onlyvips_release.doctor import examine, line  # noqa: PLC0415
    from onlyvips_release.place import find_place  # noqa: PLC0415

    found = []
    for finding in examine(plan, find_place()):
        found.append(finding)
        if not as_json:
            said(line(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=1))
    sys.exit(6 if any(finding.state == "problem" for finding in found) else 0)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Write a starter plan and suite into FOLDER (default: here); what is there already is never overwritten."""
    from onlyvips_release.starter import write  # noqa: PLC0415

    for path in write(folder):
        said(f"wrote {path}")
    said(f"next: cd {folder}; onlyvips-release up release.yaml; onlyvips-release doctor release.yaml")


@main.command()
@click.option("--keep", is_flag=True, help="Leave the demo's state folder for a look.")
def demo(keep: bool) -> None:
    """Show two releases of four services: a good one is promoted, a bad one is rolled back. About a minute.

    Needs no root and no Docker; leaves reports/index.html and stops everything that it started.
    """
    from onlyvips_release.demo import demo as show  # noqa: PLC0415

    sys.exit(show(said, keep=keep))


# --- small things -----------------------------------------------------------------------------------------------------


def opened(plan: Path) -> Platform:
    """The platform of a plan file, with signals taken over."""
    from onlyvips_release.wiring import Platform  # noqa: PLC0415

    platform = Platform.load(plan)
    platform.clock.listen()
    return platform


def said(text: str) -> None:
    """One line for people."""
    click.echo(text)
    sys.stdout.flush()


def printer(as_json: bool) -> Callable[[events.Event, Release], None]:
    """Lines as events come; with --json they go to stderr."""
    from datetime import datetime  # noqa: PLC0415

    from onlyvips_release.reporting.terminal import Printer  # noqa: PLC0415

    stream = sys.stderr if as_json else sys.stdout

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return Printer(write, lambda: datetime.now().astimezone())


def finish(release: Release, as_json: bool) -> NoReturn:
    """The verdict as the last line (or as JSON), and the exit code."""
    from onlyvips_release.reporting.summary import summary  # noqa: PLC0415

    found = summary(release, "", "")
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        click.echo(f"{found['release']} {found['verdict']}: {found['sentence']}")
    sys.exit(found["exit"] if found["exit"] is not None else 1)


def unit(plan: Path) -> str:
    """A systemd unit for `up --foreground`."""
    command = f"{sys.executable} -m onlyvips_release up --foreground {plan.absolute()}"
    state = os.environ.get("ONLYVIPS_STATE")
    environment = f"Environment=ONLYVIPS_STATE={state}\n" if state else ""
    return (
        "[Unit]\nDescription=OnlyVips router and stable services\nAfter=network.target\n\n"
        f"[Service]\nExecStart={command}\nWorkingDirectory={plan.absolute().parent}\n{environment}"
        "Restart=always\nRestartSec=1\nKillMode=process\n\n[Install]\nWantedBy=multi-user.target"
    )
