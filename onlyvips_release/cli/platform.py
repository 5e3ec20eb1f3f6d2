"""The commands of a platform between its releases: install, stop, check, freeze."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from onlyvips_release.cli.lookup import find_layout, load_platform
from onlyvips_release.cli.options import JSON, NEVER_ASKS, PLAN, PLATFORM, YES, carries_out, confirm, echo_line
from onlyvips_release.cli.progress import show_progress
from onlyvips_release.cli.release import report_end
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.environment import caller, read_environment
from onlyvips_release.state.requests import freeze as block_releases
from onlyvips_release.state.requests import unfreeze as allow_releases


@click.command()
@PLAN
@carries_out
@click.option("--foreground", is_flag=True, help="Stay, and start again what dies, until Ctrl-C.")
@click.option("--systemd", is_flag=True, help="Print a systemd unit that runs `up --foreground`, and do nothing else.")
def up(plan: Path, as_json: bool, guardian: bool, foreground: bool, systemd: bool) -> None:
    """Start the router and the stable version of every service.

    All of it is proven: pinned requests, and the smoke suite. Safe to repeat, also after a reboot. What was never
    installed is installed first: no user is served before its smoke suite passed; if it fails it is removed, exit 3.

    \b
    Examples:
      onlyvips-release up release.yaml
      onlyvips-release up release.yaml --systemd > /etc/systemd/system/shop.service
    """
    if systemd:
        echo_line(systemd_unit(plan))
        return
    platform = load_platform(plan)
    with show_progress(platform, as_json=as_json) as show:
        release = platform.up(lambda line: echo_line(line, err=as_json), show, guardian=guardian)
    if release is not None and (failed := report_end(platform, release, as_json)):
        sys.exit(failed)
    echo_line("users are served; between releases nobody supervises this unless `up --foreground` does", err=as_json)
    if foreground:
        platform.supervise(echo_line)


@click.command()
@PLAN
@YES
def down(plan: Path, yes: bool) -> None:
    """Stop the router and all services of PLAN.

    Users are not served any more. Journals, reports and logs stay. A person at a terminal is asked first.

    \b
    Example:
      onlyvips-release down release.yaml --yes
    """
    platform = load_platform(plan)
    confirm(f"Stop {platform.plan.platform}? Its users will not be served any more.", yes)
    platform.down(echo_line)


@click.command()
@PLAN
@click.argument("suite", type=click.Choice(["smoke", "canary"]))
@click.option("--arm", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@JSON
def check(plan: Path, suite: str, arm: str, as_json: bool) -> None:
    """Run one suite once against what runs; no traffic is moved.

    Exit 0 on PASS, else 6.

    \b
    Example:
      onlyvips-release check release.yaml smoke
    """
    result = load_platform(plan).check(suite, Arm(arm))
    row = {key: str(getattr(result, key)) for key in ("suite", "arm", "verdict", "kind", "reason", "report")}
    echo_line(json.dumps(row) if as_json else f"{result.verdict}: {result.reason}\n  report: {result.report}")
    sys.exit(0 if result.verdict is Verdict.PASS else 6)


@click.command()
@PLATFORM
@click.option("--reason", required=True, help="Shown to whoever tries to release.")
@NEVER_ASKS
def freeze(platform: str, reason: str) -> None:
    """Block new releases.

    What runs goes on; recover, abort and rollback stay possible. PLAN: the plan file, or the platform's name.

    \b
    Example:
      onlyvips-release freeze release.yaml --reason "holidays"
    """
    block_releases(find_layout(platform), f"{reason} ({caller()})")
    echo_line(f"releases are frozen: {reason}")


@click.command()
@PLATFORM
@NEVER_ASKS
def unfreeze(platform: str) -> None:
    """Allow new releases again.

    PLAN: the plan file, or the platform's name.

    \b
    Example:
      onlyvips-release unfreeze release.yaml
    """
    allow_releases(find_layout(platform))
    echo_line("releases are allowed")


def systemd_unit(plan: Path) -> str:
    """Text of a systemd unit for `up --foreground`."""
    command = f"{sys.executable} -m onlyvips_release up --foreground {plan.absolute()}"
    state = read_environment().variables.get("ONLYVIPS_STATE")
    environment = f"Environment=ONLYVIPS_STATE={state}\n" if state else ""
    return (
        "[Unit]\nDescription=OnlyVips router and stable services\nAfter=network.target\n\n"
        f"[Service]\nExecStart={command}\nWorkingDirectory={plan.absolute().parent}\n{environment}"
        "Restart=always\nRestartSec=1\nKillMode=process\n\n[Install]\nWantedBy=multi-user.target"
    )
