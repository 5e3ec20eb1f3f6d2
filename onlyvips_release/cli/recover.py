"""`recover`: a file of its own, because most of its calls find nothing to do and should cost nothing."""

from __future__ import annotations

import sys

import click

from onlyvips_release.cli.lookup import find_layouts
from onlyvips_release.cli.options import EXIT_CODES, carries_out, echo_line, print_error
from onlyvips_release.environment import read_environment
from onlyvips_release.errors import Interrupted, ReleaseError
from onlyvips_release.overview import idle
from onlyvips_release.state.layout import Layout

BEST_FIRST = (0, 5, 6, 7, 3, 2, 1, 130, 143, 4)
"""Exit codes: where several platforms were recovered, the worst one counts."""


@click.command(epilog=EXIT_CODES)
@click.argument("plan", required=False)
@carries_out
def recover(plan: str | None, as_json: bool, guardian: bool) -> None:
    """End an unfinished release that no command works on.

    Users go back to stable, then what is left of the canary is removed. Safe to repeat: make it the last step of each
    CI job that releases. PLAN: the plan file or the platform's name; without it every platform of this machine. What is
    to be done stands in the release's own journal, not in the file.

    \b
    Examples:
      onlyvips-release recover
      onlyvips-release recover release.yaml
    """
    environment, codes = read_environment(), []
    for layout in find_layouts(plan):
        try:
            code = None if idle(layout, environment) else end_unfinished(layout, as_json, guardian)
        except Interrupted:
            raise
        except ReleaseError as error:  # the other platforms are recovered all the same
            code = print_error(error)
        codes += [] if code is None else [code]
    if codes:
        sys.exit(max(codes, key=BEST_FIRST.index))
    echo_line("nothing is unfinished", err=as_json)


def end_unfinished(layout: Layout, as_json: bool, guardian: bool) -> int | None:
    """End the open release of one platform; its exit code, None = it has none."""
    from onlyvips_release.cli import release  # noqa: PLC0415 - nearly always there is nothing to do

    return release.end_unfinished(layout, as_json, guardian)
