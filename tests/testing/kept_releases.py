"""The five committed releases, published anew for each test session, and journals made for one test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onlyvips_release.reporting.folder import publish
from onlyvips_release.reporting.timeline import Story
from onlyvips_release.state.layout import Reports

RELEASES = Path(__file__).parents[1] / "reporting" / "releases"
CASES = {path.parent.name: path.name for path in sorted(RELEASES.glob("*/r*"), key=lambda path: path.name)}
"""Case -> release id, oldest first."""


def published(reports: Path, *cases: str) -> dict[str, Story]:
    """These releases (default: all) of the platform `e2e` below `reports`, oldest first."""
    found, of_platform = {}, Reports(reports, "e2e")
    for case in cases or CASES:
        folder = of_platform.release(CASES[case])
        shutil.copytree(RELEASES / case / CASES[case], folder)
        found[case] = publish(folder / "journal.jsonl", of_platform)
    return found


def changed(path: Path, event: str, fields: Mapping[str, Any]) -> None:
    """Give the last record of this kind in a journal other fields."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    next(record for record in reversed(records) if record["event"] == event).update(fields)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def suite(folder: Path, name: str, reports: list[dict[str, Any]], *others: dict[str, Any]) -> None:
    """The event stream of one run of a suite: these reports, and other events."""
    lines = [{"k": "collected", "ids": [one["node"] for one in reports]}, *others]
    lines += [{"k": "report", "when": "call", "severity": "normal", "duration": 0.01, "text": "", **r} for r in reports]
    path = folder / "suites" / name / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def installed(folder: Path, *cases: str) -> Path:
    """A state folder below `folder` with the platform of these releases, oldest first."""
    for case in cases:
        shutil.copytree(RELEASES / case / CASES[case], folder / "state" / "e2e" / "releases" / CASES[case])
    (folder / "state" / "e2e" / "live").mkdir()
    return folder / "state"
