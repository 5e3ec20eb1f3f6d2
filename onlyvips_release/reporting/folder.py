"""Writes what is left of a release for people and machines: the report folder, the list of all, Allure's results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from onlyvips_release.errors import Refused
from onlyvips_release.reporting import chart, html, summary
from onlyvips_release.reporting.timeline import Run, Story, changes, read_runs, tell
from onlyvips_release.state.files import write_whole
from onlyvips_release.state.journal import entries
from onlyvips_release.state.layout import SUITES, Layout, Reports, is_release


def read(journal: Path, folder: Path) -> Story:
    """The story of one release. Raises JournalError for a record that cannot be read."""
    return tell(((entry.time, entry.event) for entry in entries(journal)), folder)


def publish(journal: Path, reports: Reports, keep: int = 0) -> Story:
    """Write the report of a journal's release and the list of all; keep the platform's newest `keep`, 0 = all."""
    from onlyvips_release.reporting import allure_results, junit  # noqa: PLC0415 - their libraries are slow to import

    name = journal.parent.name
    folder = reports.release(name)
    folder.mkdir(parents=True, exist_ok=True)
    story = read(journal, folder)
    found = summary.summary(story.release, story.started.isoformat(), story.ended.isoformat(), story.outcomes)
    write(folder / "summary.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write(folder / "chart.svg", chart.svg(story))
    write(folder / "samples.csv", chart.samples_csv(story))
    write(folder / "junit.xml", junit.junit(story))
    allure_results.write_results(story, folder / "allure-results")
    before = last_checks(reports, name)
    changed = None if before is None else changes(story.runs, before)
    write(reports.page(name), html.report(story, changed, files(folder)))
    prune(reports, keep)
    renew_index(reports)
    return story


def find(state: Path, release: str | None, platform: str | None) -> Path:
    """The journal of a release, of the newest one by default. Refused when there is none, or more than one could be
    meant."""
    layouts = [Layout.at(folder) for folder in sorted(state.glob("*")) if platform in (None, folder.name)]
    found = {at.platform: [name for name in at.releases() if release in (None, name)] for at in layouts}
    names = [name for name, releases in found.items() if releases]
    if not names:
        raise Refused(f"no release {release or ''}".rstrip() + f" below {state}", remedy="onlyvips-release status")
    if len(names) > 1:
        raise Refused(f"which platform: {', '.join(names)}?", remedy="give --platform")
    return Layout(state, names[0]).journal(found[names[0]][-1])


def renew_index(reports: Reports) -> None:
    """Write the list of all releases whose folder is there, newest first.

    Folders directly below the reports folder are of versions that did not tell platforms apart.
    """
    rows = []
    for folder in folders(reports.root) + [folder for path in reports.root.glob("*") for folder in folders(path)]:
        found = json.loads((folder / "summary.json").read_text())
        rows.append({**found, "page": f"{folder.relative_to(reports.root).as_posix()}/report.html"})
    write(reports.index, html.index(sorted(rows, key=lambda row: str(row["started"]), reverse=True)))


def folders(parent: Path) -> list[Path]:
    """Folders of releases in this folder, oldest first."""
    found = [path.parent for path in parent.glob("r*/summary.json") if is_release(path.parent.name)]
    return sorted(found, key=lambda path: int(path.name[1:]))


def prune(reports: Reports, keep: int) -> None:
    """Take the platform's oldest folders away; journals stay in the state folder."""
    for folder in folders(reports.folder)[:-keep] if keep > 0 else ():
        shutil.rmtree(folder, ignore_errors=True)


def last_checks(reports: Reports, name: str) -> list[Run] | None:
    """The checks of the newest release before this one that has any."""
    older = [path for path in folders(reports.folder) if int(path.name[1:]) < int(name[1:])]
    for folder in reversed(older):
        if runs := [run for run in read_runs(folder / SUITES, ()) if run.checks]:
            return runs
    return None


def files(folder: Path) -> list[str]:
    """What lies beside the report and helps a reader, relative to it."""
    found = ["summary.json", "chart.svg", "samples.csv", "junit.xml"]
    suites = (path for path in folder.glob(f"{SUITES}/*/*") if path.name in ("output.txt", "junit.xml", "events.jsonl"))
    return found + sorted(str(path.relative_to(folder)) for path in suites)


def write(path: Path, text: str) -> None:
    """Whole or not at all; half surrogates, which no file can hold, become question marks."""
    write_whole(path, text.encode("utf-8", "replace"), private=False)
