"""`demo`: the command; what it shows stands in the sandbox."""

from __future__ import annotations

import sys

import click

from onlyvips_release.cli.options import echo_line
from onlyvips_release.sandbox.demo import demo as show_demo


@click.command()
@click.option("--keep", is_flag=True, help="Leave the demo's state folder for a look.")
def demo(keep: bool) -> None:
    """Show a good release promoted, and a bad one rolled back.

    Four services, about a minute. Needs no root and no containers; leaves reports/index.html and stops everything that
    it started.

    \b
    Example:
      onlyvips-release demo
    """
    sys.exit(show_demo(echo_line, keep=keep))
