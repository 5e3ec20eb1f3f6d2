"""The command line: which commands there are, where each stands, and how an error looks. It imports none of them."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from onlyvips_release import __version__
from onlyvips_release.cli.options import EXIT_CODES, print_error
from onlyvips_release.errors import ReleaseError

COMMANDS = {
    "Releases": {
        "run": ("release:run", "Release the canary revisions of PLAN."),
        "pause": ("release:pause", "Hold the running release at its weight."),
        "resume": ("release:resume", "Go on with a release that is paused, or whose controller died."),
        "promote": ("release:promote", "Promote the open release now, unless evidence is against it."),
        "abort": ("release:abort", "Roll the open release back."),
        "recover": ("recover:recover", "End an unfinished release that no command works on."),
        "rollback": ("release:rollback", "Bring an older revision back after a promotion."),
    },
    "Platforms": {
        "up": ("platform:up", "Start the router and the stable version of every service."),
        "down": ("platform:down", "Stop the router and all services of PLAN."),
        "check": ("platform:check", "Run one suite once against what runs; no traffic is moved."),
        "freeze": ("platform:freeze", "Block new releases."),
        "unfreeze": ("platform:unfreeze", "Allow new releases again."),
    },
    "Plans and records": {
        "plan": ("inspect:plan", "Show what a release of PLAN would do; nothing is touched."),
        "status": ("status:status", "Show where every platform of this machine stands."),
        "report": ("inspect:report", "Draw the report of a release again, and print where it is."),
        "replay": ("inspect:replay", "Decide an old release again, offline, from its journal."),
    },
    "First steps": {
        "demo": ("demo:demo", "Show a good release promoted, and a bad one rolled back."),
        "init": ("init:init", "Write a starter plan and suites into FOLDER."),
        "doctor": ("doctor:doctor", "Find what stands in the way of a release of PLAN."),
        "schema": ("inspect:schema", "Print the JSON Schema of plan files, or of summaries."),
        "completion": ("inspect:completion", "Print the completion script of a shell."),
    },
}
"""By section of `--help`: a command's name, its module in this package with its attribute there, and its first line."""

ROWS = {name: row for section in COMMANDS.values() for name, row in section.items()}


class LazyGroup(click.Group):
    """Imports a command when it is called. Errors of the tool become a message, a remedy and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names that `--help` shows."""
        return list(ROWS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it; None = there is no such command."""
        if cmd_name not in ROWS:
            return None
        module, _, attribute = ROWS[cmd_name][0].partition(":")
        command = getattr(import_module(f"onlyvips_release.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands where there is no such one."""
        name = args[0]
        if name in ROWS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = " or ".join(f"'{similar}'" for similar in get_close_matches(name, ROWS))
        raise click.UsageError(f"No such command '{name}'." + (f" Did you mean {near}?" if near else ""), ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections, from the table alone."""
        width = max(map(len, ROWS))
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, (_, text) in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Names and first lines, from the table alone; else options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell that completes needs it

        items = [CompletionItem(name, help=text) for name, (_, text) in ROWS.items() if name.startswith(incomplete)]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ReleaseError as error:
            sys.exit(print_error(error))
        except KeyboardInterrupt:  # commands that change something take signals over: this one only reads or prints
            click.echo("interrupted", err=True)
            sys.exit(130)


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
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
