"""The command line: parse, call, print, exit code. It decides nothing, and imports what is slow only where needed."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from onlyvips_release import __version__
from onlyvips_release.errors import PlanError, Refused, ReleaseError

if TYPE_CHECKING:
    from onlyvips_release.core.lifecycle import Release
    from onlyvips_release.core.model import Request
    from onlyvips_release.platform import Platform

EXIT_CODES = """\b
Exit codes:
  0  promoted, or done              4  not confirmed: page a person
  1  error of the tool, users are   5  paused, waits for approval
     proven on stable               6  refused or check failed; nothing touched
  2  wrong usage or plan            7  another command holds the platform
  3  rolled back, confirmed         130/143  interrupted, users proven on stable"""

PLAN = click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr.")
TIMEOUT = click.option("--timeout", metavar="DURATION", help="At most so long, e.g. 45m.")
YES = click.option("--yes", "-y", is_flag=True, help="Accepted everywhere; nothing ever asks.")
GUARD = click.option(
    "--guardian/--no-guardian", default=True, help="Without it nobody takes users back when this command is killed."
)
UNTIL = click.option("--until", type=click.Choice(["paused"]), help="End with 5 at the first pause, users on stable.")

WATCH = 1.0
"""Seconds between two looks of `status --watch`."""


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
@GUARD
@UNTIL
@click.option("--events", "stream", type=click.Path(path_type=Path), help="Write each event there, as a JSON line.")
@TIMEOUT
def run(
    plan: Path, as_json: bool, yes: bool, guardian: bool, until: str | None, stream: Path | None, timeout: str | None
) -> None:
    """Release the canary revisions of PLAN; ends when they are promoted or rolled back.

    In CI write `exec onlyvips-release run …`: without exec a cancelled job never tells it to roll back. `--timeout`
    aborts the release as `abort` does: back before the point of no return, after it to the end.
    """
    from onlyvips_release.cli.progress import aborted_after, shown  # noqa: PLC0415

    limit = seconds(timeout)
    platform = opened(plan)
    with shown(platform, as_json=as_json, stream=stream) as tell, aborted_after(platform, limit):
        release = platform.run(tell, until_paused=until == "paused", guardian=guardian)
    finish(platform, release, as_json)


@main.command()
@click.argument("plan", required=False)
@JSON
@YES
@GUARD
def recover(plan: str | None, as_json: bool, yes: bool, guardian: bool) -> None:
    """End an unfinished release that nobody works on: users back on stable, then clean-up. Safe to repeat.

    PLAN: the plan file or the platform's name; without it every platform of this machine. The release's own journal
    says what is to be done, not the file.
    """
    from onlyvips_release.overview import idle  # noqa: PLC0415

    for folder in [folder for folder in folders(plan) if not idle(folder)]:
        platform = known(folder)
        if platform is None:
            continue  # a crash before its first release began
        from onlyvips_release.cli.progress import shown  # noqa: PLC0415

        with shown(platform, as_json=as_json) as tell:
            release = platform.take_over(asked("recover", ""), tell, guardian=guardian)
        if release is not None:
            finish(platform, release, as_json)
    click.echo("nothing is unfinished", err=as_json)


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
    from onlyvips_release.core.model import Arm, Verdict  # noqa: PLC0415

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
    """Read PLAN, show what a release would do and what its bake can find out; nothing is touched."""
    from onlyvips_release.plantext import describe  # noqa: PLC0415
    from onlyvips_release.platform import Platform  # noqa: PLC0415

    platform = Platform.load(plan)
    if as_json:
        from onlyvips_release.state.codec import encode  # noqa: PLC0415

        click.echo(json.dumps(encode(platform.plan), indent=1))
        return
    click.echo("\n".join([describe(platform.plan), *platform.forecast()]))


@main.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--plan", "other", type=click.Path(path_type=Path), help="Decide with this plan's limits instead.")
@JSON
def replay(journal: Path, other: Path | None, as_json: bool) -> None:
    """Decide the release of JOURNAL (releases/ID/journal.jsonl) again, offline, from what was recorded."""
    from onlyvips_release.backtest import rejudge  # noqa: PLC0415
    from onlyvips_release.planfile import load  # noqa: PLC0415
    from onlyvips_release.state.codec import encode  # noqa: PLC0415
    from onlyvips_release.state.journal import FileJournal  # noqa: PLC0415

    if not journal.is_file():
        raise Refused(f"{journal} is no file", remedy="give releases/ID/journal.jsonl of the state folder")
    found = rejudge(FileJournal(journal).read(), load(other)[0] if other else None)
    if as_json:
        click.echo(json.dumps(encode(found), ensure_ascii=False))
        return
    word = f"{found.decided.verdict} at tick {found.tick}: " if found.decided else ""
    click.echo(f"recorded: {found.recorded}\nreplayed: {word}{found.sentence}")


@main.command()
@click.argument("platform", required=False)
@click.option("--live", is_flag=True, help="Measure at the router where users are now.")
@JSON
@click.option("--watch", is_flag=True, help="Again whenever something changes, until no release is open.")
@TIMEOUT
def status(platform: str | None, live: bool, as_json: bool, watch: bool, timeout: str | None) -> None:
    """Where every platform of this machine stands, from its journal and lease alone (PLATFORM: only that one)."""
    from onlyvips_release.environment import find_place  # noqa: PLC0415
    from onlyvips_release.overview import live as measured  # noqa: PLC0415
    from onlyvips_release.overview import overview, text  # noqa: PLC0415

    state = find_place().state
    end, last = time.monotonic() + (seconds(timeout) or float("inf")), ""
    while True:
        found = [row for row in overview(state) if platform in (None, row["platform"])]
        if live:
            found = [{**row, "live": measured(state / row["platform"])} for row in found]
        told = "\n".join(text(row) for row in found) or "no platform is installed: onlyvips-release up PLAN"
        told = json.dumps(found, indent=None if watch else 1) if as_json else told
        if told != last:
            if watch and not as_json and sys.stdout.isatty():
                click.clear()
            said(told)
        last = told
        if not watch or not any(row.get("open") for row in found):
            return
        if time.monotonic() >= end:
            click.echo(f"not over after {timeout}", err=True)
            sys.exit(6)
        time.sleep(WATCH)


@main.command()
@click.argument("release", required=False, metavar="[RUN]")
@click.option("--platform", help="Whose release, where this machine has several platforms.")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def report(release: str | None, platform: str | None, show: bool) -> None:
    """Draw the report of RUN (r0007; default: the newest) again, also of one that is under way, and say where it is."""
    from onlyvips_release.environment import find_place  # noqa: PLC0415
    from onlyvips_release.reporting.folder import allure_html, find, publish  # noqa: PLC0415

    place = find_place()
    journal = find(place.state, release, platform)
    publish(journal, place.reports, place.keep)
    page = place.reports / journal.parent.name / "report.html"
    said(f"report: {page}")
    said(allure_html(place.reports, journal.parent.name, place.env))
    if show:
        click.launch(str(page))


@main.command()
@click.argument("what", type=click.Choice(["plan", "summary"]), default="plan")
def schema(what: str) -> None:
    """JSON Schema of the plan file (for completion in editors), or of summary.json and `run --json`."""
    if what == "plan":
        from onlyvips_release import planmodel  # noqa: PLC0415

        found = planmodel.schema()
    else:
        from onlyvips_release.reporting import summary  # noqa: PLC0415

        found = summary.schema()
    said(json.dumps(found, indent=1))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: eval "$(onlyvips-release completion bash)"."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    kind = get_completion_class(shell)
    assert kind is not None
    said(kind(main, {}, "onlyvips-release", "_ONLYVIPS_RELEASE_COMPLETE").source())


def wish(what: str, help_text: str) -> click.Command:
    """A command for the open release: heard by who holds it, or carried out here when nobody does."""

    @click.command(name=what, help=help_text)
    @click.argument("plan")
    @click.option("--reason", default="", help="Why; it is kept in the journal with your name.")
    @JSON
    @YES
    @GUARD
    @UNTIL
    def command(plan: str, reason: str, as_json: bool, yes: bool, guardian: bool, until: str | None) -> None:
        from onlyvips_release.cli.progress import shown  # noqa: PLC0415

        (folder,) = folders(plan)
        platform, request = kept(folder), asked(what, reason)
        if platform.ask(request):
            say = f"{what} was heard by the running release"
            if what == "abort":
                click.echo(f"{say}; waiting for its end", err=True)
                ended(platform, platform.wait(), as_json)
            click.echo(say, err=as_json)
            return
        if what == "pause":
            still(platform)
        with shown(platform, as_json=as_json) as tell:
            release = platform.take_over(request, tell, until_paused=until == "paused", guardian=guardian)
        if what == "abort":
            ended(platform, release, as_json)
        if release is None:
            refuse("no release is unfinished")
        finish(platform, release, as_json)

    return command


for name, words in {
    "abort": "Roll the open release back. Done, also when there is nothing to abort: exit 0.",
    "pause": "Hold the running release at its weight.",
    "resume": "Go on with a release that is paused, or whose controller died: an unfinished step begins again.",
    "promote": "Promote the open release now, unless something speaks against it.",
}.items():
    main.add_command(wish(name, words))


@main.command()
@click.argument("plan")
@click.option("--to", metavar="RELEASE", help="What this release promoted, such as r0007; default: what served before.")
@click.option("--reason", default="", help="Why; it is kept in the journal with your name.")
@JSON
@YES
@GUARD
def rollback(plan: str, to: str | None, reason: str, as_json: bool, yes: bool, guardian: bool) -> None:
    """Bring an older revision back after a promotion, without a failed request and without a bake."""
    from onlyvips_release.cli.progress import shown  # noqa: PLC0415

    (folder,) = folders(plan)
    platform = kept(folder)
    with shown(platform, as_json=as_json) as tell:
        release = platform.rollback(to, reason, tell, guardian=guardian)
    if release is None:
        click.echo("these revisions serve already", err=as_json)
        return
    finish(platform, release, as_json)


@main.command()
@click.argument("plan")
@click.option("--reason", required=True, help="Shown to whoever tries to release.")
@YES
def freeze(plan: str, reason: str, yes: bool) -> None:
    """Block new releases; what runs goes on, and recover, abort and rollback stay possible."""
    from onlyvips_release.environment import freeze as frozen  # noqa: PLC0415
    from onlyvips_release.state.lease import me  # noqa: PLC0415

    (folder,) = folders(plan)
    frozen(folder, f"{reason} ({me()})")
    said(f"releases are frozen: {reason}")


@main.command()
@click.argument("plan")
@YES
def unfreeze(plan: str, yes: bool) -> None:
    """Allow new releases again."""
    from onlyvips_release.environment import unfreeze as allow  # noqa: PLC0415

    (folder,) = folders(plan)
    allow(folder)
    said("releases are allowed")


@main.command(hidden=True)
@click.argument("state", type=click.Path(path_type=Path))
@click.argument("release")
@click.argument("fence", type=int)
@click.option("--envoy", type=click.Path(path_type=Path))
def guardian(state: Path, release: str, fence: int, envoy: Path | None) -> None:
    """The dead man's switch of one controller; started by it."""
    from onlyvips_release.platform import watch  # noqa: PLC0415

    watch(state, release, fence, envoy)


@main.command()
@PLAN
@JSON
def doctor(plan: Path, as_json: bool) -> None:
    """Look for what stands in the way of a release of PLAN; nothing is touched. Exit 0, or 6 with a problem."""
    from dataclasses import asdict  # noqa: PLC0415

    from onlyvips_release.cli.doctor import examine, line  # noqa: PLC0415
    from onlyvips_release.environment import find_place  # noqa: PLC0415

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
    from onlyvips_release.cli.init import write  # noqa: PLC0415

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
    from onlyvips_release.platform import Platform  # noqa: PLC0415

    platform = Platform.load(plan)
    platform.clock.listen()
    return platform


def folders(target: str | None) -> list[Path]:
    """State folders: of a plan file, of a platform by its name, or of all platforms."""
    from onlyvips_release.environment import find_place  # noqa: PLC0415

    state = find_place().state
    if target is None:
        return sorted(path.parent for path in state.glob("*/live"))
    if not Path(target).is_file():
        return [state / target]
    from onlyvips_release.planfile import platform_of  # noqa: PLC0415

    return [state / platform_of(Path(target))]


def known(folder: Path) -> Platform | None:
    """The platform as its newest journal describes it, with signals taken over; None = no release was ever begun."""
    from onlyvips_release.platform import Platform  # noqa: PLC0415

    platform = Platform.opened(folder)
    if platform is not None:
        platform.clock.listen()
    return platform


def kept(folder: Path) -> Platform:
    """The same where there must have been a release."""
    return known(folder) or refuse(f"no release was ever begun in {folder}")


def asked(what: str, reason: str) -> Request:
    """A wish with the name of who has it."""
    from onlyvips_release.core.model import Request  # noqa: PLC0415
    from onlyvips_release.state.lease import me  # noqa: PLC0415

    return Request(what, me(), reason=reason)


def refuse(why: str) -> NoReturn:
    """Exit 6."""
    from onlyvips_release.errors import Refused  # noqa: PLC0415

    raise Refused(why, remedy="see `onlyvips-release status`")


def still(platform: Platform) -> NoReturn:
    """`pause` with nobody to hear it: done, when the release was left paused; else nothing is there to hold."""
    from onlyvips_release.overview import platform as standing  # noqa: PLC0415

    row = standing(platform.state)
    if row.get("phase") != "PAUSED" or row["exit"] is None:
        refuse("nobody holds a release that could be paused")
    said(f"{row['release']} is paused already")
    sys.exit(0)


def ended(platform: Platform, release: Release | None, as_json: bool) -> NoReturn:
    """The end of an abort: 0 when users are on stable, or nothing was left to abort."""
    from onlyvips_release.core.events import Phase  # noqa: PLC0415

    if release is None or (release.phase is Phase.ROLLED_BACK and release.finished):
        click.echo("nothing is left to abort: users are on stable", err=as_json)
        sys.exit(0)
    finish(platform, release, as_json)


def said(text: str) -> None:
    """One line for people."""
    click.echo(text)
    sys.stdout.flush()


def seconds(text: str | None) -> float | None:
    """Of a duration such as 45m; a usage error for anything else."""
    if text is None:
        return None
    from onlyvips_release.core.keys import duration  # noqa: PLC0415

    try:
        return duration(text).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None


def finish(platform: Platform, release: Release, as_json: bool) -> NoReturn:
    """Where the reports are, the verdict as the last line (or as JSON), and the exit code; with 4 what helps."""
    from onlyvips_release.cli.progress import reported  # noqa: PLC0415
    from onlyvips_release.reporting.summary import summary  # noqa: PLC0415
    from onlyvips_release.reporting.wording import one_line  # noqa: PLC0415

    found = summary(release, "", "")
    code = found["exit"] if found["exit"] is not None else 1
    for line in reported(platform, release, brief=code > 128):
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        click.echo(one_line(f"{found['release']} {found['verdict']}: {found['sentence']}"))
    if code == 4:
        by_hand = platform.router(release.id).by_hand(release.safe_weight)
        click.echo(f"to take users to the safe side without this tool:\n{by_hand}", err=True)
    sys.exit(code)


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
