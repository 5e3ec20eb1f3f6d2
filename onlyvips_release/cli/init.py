"""`init`: a plan, a suite and its ini file to begin with; they run as they are written."""

from __future__ import annotations

import json
from pathlib import Path

import click

from onlyvips_release.cli.options import echo_line
from onlyvips_release.errors import Refused
from onlyvips_release.planmodel import schema

STARTER = Path(__file__).parent / "starter"
CHECKS = ("checks/test_smoke.py", "checks/test_canary.py", "checks/pytest.ini")
FILES = {name: (STARTER / name).read_text() for name in ("release.yaml", "v1/index.html", "v2/index.html", *CHECKS)}
FILES["release.schema.json"] = json.dumps(schema(), indent=1) + "\n"
"""Name -> text of what `init` writes: the files of the folder `starter`, and the schema that its plan names."""


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
            (folder / name).write_text(text)
    except BaseException:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        raise
    return [folder / name for name in FILES]
