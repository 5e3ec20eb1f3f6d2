"""`status`: a file of its own, because everybody waits for it: it imports what reads a journal, nothing else."""

from __future__ import annotations

import json
import sys
import time

import click

from onlyvips_release.cli.options import JSON, TIMEOUT, echo_line
from onlyvips_release.environment import read_environment
from onlyvips_release.overview import live, overview, text
from onlyvips_release.state.layout import Layout

POLL_INTERVAL = 1.0
"""Seconds between two readings of `status --watch`."""


@click.command()
@click.argument("platform", required=False)
@click.option("--live", "measured", is_flag=True, help="Measure at the router where users are now.")
@JSON
@click.option("--watch", "follow", is_flag=True, help="Again whenever something changes, until no release is open.")
@TIMEOUT
def status(platform: str | None, measured: bool, as_json: bool, follow: bool, timeout: float | None) -> None:
    """Show where every platform of this machine stands.

    It reads journals and leases alone, and changes nothing. PLATFORM: only the platform of this name.

    \b
    Examples:
      onlyvips-release status
      onlyvips-release status shop --live
      onlyvips-release status --watch --timeout 45m
    """
    end, last = time.monotonic() + (float("inf") if timeout is None else timeout), ""
    while True:
        rows = read_rows(platform, measured)
        message = "\n".join(map(text, rows)) or "no platform is installed: onlyvips-release up PLAN"
        message = json.dumps(rows, indent=None if follow else 1) if as_json else message
        if message != last:
            if follow and not as_json and sys.stdout.isatty():
                click.clear()
            echo_line(message)
        last = message
        if not follow or not any(row.get("open") for row in rows):
            return
        if time.monotonic() >= end:
            echo_line(f"not over after {timeout:g}s", err=True)
            sys.exit(6)
        time.sleep(POLL_INTERVAL)


def read_rows(platform: str | None, measured: bool) -> list[dict[str, object]]:
    """One row per platform, or of that platform alone; `measured`: with what its router answers now."""
    environment = read_environment()
    rows = [row for row in overview(environment) if platform in (None, row["platform"])]
    if measured:
        rows = [{**row, "live": live(Layout(environment.state, row["platform"]), environment)} for row in rows]
    return rows
