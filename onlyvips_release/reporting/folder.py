"""Writes what is left of a release for people and machines: the report folder, the list of all, Allure's results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from onlyvips_release.errors import Refused
from onlyvips_release.reporting import allure, chart, html, junit, summary
from onlyvips_release.reporting.timeline import OUTCOMES, Run, Story, changes, read_runs, tell
from onlyvips_release.state.journal import dated


def read(journal: Path, folder: Path) -> Story:
    """The story of one release. Raises JournalError for a record that cannot be read."""
    return tell(dated(journal), folder)


def publish(journal: Path, reports: Path, keep: int = 0) -> Story:
    """Write `reports/<id>/` and renew `reports/index.html`; keep the newest `keep` folders, 0 = all of them."""
    name = journal.parent.name
    folder = reports / name
    folder.mkdir(parents=True, exist_ok=True)
    story = read(journal, folder)
    counts = {word: sum(run.count(word) for run in story.runs) for word in OUTCOMES}
    found = summary.summary(story.release, story.started.isoformat(), story.ended.isoformat(), counts)
    write(folder / "summary.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write(folder / "chart.svg", chart.svg(story))
    write(folder / "samples.csv", chart.samples_csv(story))
    write(folder / "junit.xml", junit.junit(story))
    allure.write_results(story, folder / "allure-results")
    before = last_checks(reports, name)
    changed = None if before is None else changes(story.runs, before)
    write(folder / "report.html", html.report(story, changed, files(folder)))
    prune(reports, keep)
    renew_index(reports)
    return story


def find(state: Path, release: str | None, platform: str | None) -> Path:
    """The journal of a release, of the newest one by default. Refused when there is none, or more than one could be
    meant."""
    found = [path for path in state.glob("*/releases/r*/journal.jsonl") if platform in (None, path.parts[-4])]
    found = [path for path in found if release in (None, path.parent.name)]
    platforms = sorted({path.parts[-4] for path in found})
    if not found:
        raise Refused(f"no release {release or ''}".rstrip() + f" below {state}", remedy="onlyvips-release status")
    if len(platforms) > 1:
        raise Refused(f"which platform: {', '.join(platforms)}?", remedy="give --platform")
    return max(found, key=lambda path: int(path.parent.name[1:]))


def allure_html(reports: Path, release: str, env: Mapping[str, str]) -> str:
    """Allure's page of a release, if Node is there; what to tell people of it."""
    return allure.html(reports / release, reports / "history.jsonl", env)


def renew_index(reports: Path) -> None:
    """The list of all releases whose folder is there."""
    rows = [json.loads((folder / "summary.json").read_text()) for folder in reversed(folders(reports))]
    write(reports / "index.html", summary.index(rows))


def folders(reports: Path) -> list[Path]:
    """Folders of releases, oldest first."""
    found = [path.parent for path in reports.glob("r[0-9]*/summary.json") if path.parent.name[1:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[1:]))


def prune(reports: Path, keep: int) -> None:
    """Take the oldest folders away; journals stay in the state folder."""
    for folder in folders(reports)[:-keep] if keep > 0 else ():
        shutil.rmtree(folder, ignore_errors=True)


def last_checks(reports: Path, name: str) -> list[Run] | None:
    """The checks of the newest release before this one that has any."""
    older = [path for path in folders(reports) if int(path.name[1:]) < int(name[1:])]
    for folder in reversed(older):
        if runs := [run for run in read_runs(folder / "suites", ()) if run.checks]:
            return runs
    return None


def files(folder: Path) -> list[str]:
    """What lies beside the report and helps a reader, relative to it."""
    found = ["summary.json", "chart.svg", "samples.csv", "junit.xml"]
    suites = (path for path in folder.glob("suites/*/*") if path.name in ("output.txt", "junit.xml", "events.jsonl"))
    return found + sorted(str(path.relative_to(folder)) for path in suites)


def write(path: Path, text: str) -> None:
    """Whole or not at all; half surrogates, which no file can hold, become question marks."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(text.encode("utf-8", "replace"))
    temporary.rename(path)
