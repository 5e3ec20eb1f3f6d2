"""Commands that only read: plans, journals, reports, schemas; and the completion script."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import get_completion_class

import onlyvips_release
from onlyvips_release import planfile, planmodel
from onlyvips_release.backtest import backtest
from onlyvips_release.cli.options import JSON, PLAN, echo_line
from onlyvips_release.codec import encode
from onlyvips_release.environment import read_environment
from onlyvips_release.errors import Refused
from onlyvips_release.plantext import describe
from onlyvips_release.reporting import summary
from onlyvips_release.reporting.allure import allure_html
from onlyvips_release.reporting.folder import find, publish
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Layout, Reports


@click.command()
@PLAN
@JSON
def plan(plan: Path, as_json: bool) -> None:
    """Show what a release of PLAN would do; nothing is touched.

    Also what its bake can find out with the traffic there is.

    \b
    Example:
      onlyvips-release plan release.yaml
    """
    platform = onlyvips_release.Platform.load(plan)
    if as_json:
        echo_line(json.dumps(encode(platform.plan), indent=1))
        return
    echo_line("\n".join([describe(platform.plan), *platform.forecast()]))


@click.command()
@click.argument("release", required=False, metavar="[RUN]")
@click.option("--platform", help="Whose release, where this machine has several platforms.")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def report(release: str | None, platform: str | None, show: bool) -> None:
    """Draw the report of a release again, and print where it is.

    RUN: its id such as r0007; default: the newest. Also of one that is under way.

    \b
    Examples:
      onlyvips-release report --open
      onlyvips-release report r0007 --platform shop
    """
    environment = read_environment()
    journal = find(environment.state, release, platform)
    reports, name = Reports(environment.reports, Layout.at(journal.parents[2]).platform), journal.parent.name
    publish(journal, reports, environment.keep_reports)
    page = reports.page(name)
    echo_line(f"report: {page}")
    echo_line(allure_html(reports, name, environment.variables))
    if show:
        click.launch(str(page))


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--plan", "other", type=click.Path(path_type=Path), help="Decide with this plan's limits instead.")
@JSON
def replay(journal: Path, other: Path | None, as_json: bool) -> None:
    """Decide an old release again, offline, from its journal.

    JOURNAL: releases/ID/journal.jsonl below the platform's state folder.

    \b
    Examples:
      onlyvips-release replay ~/.local/state/onlyvips-release/shop/releases/r0007/journal.jsonl
      onlyvips-release replay journal.jsonl --plan stricter.yaml
    """
    if not journal.is_file():
        raise Refused(f"{journal} is no file", remedy="give releases/ID/journal.jsonl of the state folder")
    result = backtest(FileJournal(journal).read(), planfile.load(other)[0] if other else None)
    verdict = f"{result.decided.verdict} at tick {result.tick}: " if result.decided else ""
    text = f"recorded: {result.recorded}\nreplayed: {verdict}{result.sentence}"
    echo_line(json.dumps(encode(result), ensure_ascii=False) if as_json else text)


@click.command()
@click.argument("what", type=click.Choice(["plan", "summary"]), default="plan")
def schema(what: str) -> None:
    """Print the JSON Schema of plan files, or of summaries.

    The first serves completion in editors; the second describes summary.json and `run --json`.

    \b
    Examples:
      onlyvips-release schema > release.schema.json
      onlyvips-release schema summary
    """
    echo_line(json.dumps(planmodel.schema() if what == "plan" else summary.schema(), indent=1))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      eval "$(onlyvips-release completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    echo_line(kind(ctx.find_root().command, {}, "onlyvips-release", "_ONLYVIPS_RELEASE_COMPLETE").source())
