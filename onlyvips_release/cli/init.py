"""`init`: a plan, a suite and its ini file to begin with; they run as they are written."""

from __future__ import annotations

import json
from pathlib import Path

import click

from onlyvips_release.cli.options import echo_line
from onlyvips_release.errors import Refused
from onlyvips_release.planmodel import schema

PLAN = """\
# yaml-language-server: $schema=release.schema.json
# What is released, how, and what must hold; every key: docs/plan.md. See what it would do: onlyvips-release plan {name}
version: 1
platform: shop
router: {listen: "127.0.0.1:18000"}
services:
  web:                                                # your service; this stand-in serves a folder of files
    health: {path: /}
    process: {ports: [18110, 18111]}                  # two slots: stable and canary
    stable: {revision: v1, command: ["{python}", -m, http.server, "{port}", --bind, 127.0.0.1, --directory, v1]}
    canary: {revision: v2, command: ["{python}", -m, http.server, "{port}", --bind, 127.0.0.1, --directory, v2]}
steps: [{weight: 10, bake: 30m}]
checks:
  smoke: {path: checks/test_smoke.py}
  canary: {path: checks/test_canary.py}
"""

SMOKE = '''\
"""Does the revision under test do its work? Alone: pytest checks/test_smoke.py --release-target web=http://..."""

import httpx
import pytest

from onlyvips_release.expect import answered, require
from onlyvips_release.expect import Target


@pytest.mark.severity("blocker")
@pytest.mark.title("{service}: the page is there")
def test_page_is_there(service: Target, api: httpx.Client) -> None:
    page = answered(api.get("/"))
    require("<h1>" in page.text, f"{service}: page", expected="a headline", got=page.text[:200])


@pytest.mark.severity("normal")
@pytest.mark.title("{service}: a page that was never made is not found")
def test_missing_page_is_not_found(service: Target, api: httpx.Client) -> None:
    answered(api.get("/never-made"), 404)
'''

CANARY = '''\
"""Is the canary worse than stable?"""

import httpx
import pytest

from onlyvips_release.expect import same
from onlyvips_release.expect import Target


@pytest.mark.severity("critical")
@pytest.mark.title("{service}: the page is answered alike on both arms")
def test_page_is_answered_alike(service: Target, api: httpx.Client, stable_api: httpx.Client) -> None:
    same(f"{service}: status", api.get("/").status_code, stable_api.get("/").status_code)
'''

INI = """\
[pytest]
release_guard = true
addopts = --strict-markers
"""

FILES = {
    "release.yaml": PLAN,
    "release.schema.json": json.dumps(schema(), indent=1) + "\n",
    "v1/index.html": "<h1>v1</h1>\n",
    "v2/index.html": "<h1>v2</h1>\n",
    "checks/test_smoke.py": SMOKE,
    "checks/test_canary.py": CANARY,
    "checks/pytest.ini": INI,
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Write a starter plan and suites into FOLDER.

    Default: here. A file that exists is never overwritten.

    \b
    Example:
      onlyvips-release init shop
    """
    for path in write_files(folder):
        echo_line(f"wrote {path}")
    echo_line(f"next: cd {folder}; onlyvips-release up release.yaml; onlyvips-release doctor release.yaml")


def write_files(folder: Path) -> list[Path]:
    """All files or none. Raises Refused where one of them exists."""
    existing = [name for name in FILES if (folder / name).exists()]
    if existing:
        raise Refused(
            f"{', '.join(existing)} is there already", remedy="give another folder: onlyvips-release init FOLDER"
        )
    try:
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace("{name}", "release.yaml"))
    except BaseException:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        raise
    return [folder / name for name in FILES]
