"""`report.html` and `index.html`: files that can be mailed. No script, nothing from elsewhere, printable. Pure.

A report has the decision first, then the picture, the checks (failed ones first), what was not tested, what changed,
and the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from onlyvips_release.reporting.chart import svg
from onlyvips_release.reporting.markup import render
from onlyvips_release.reporting.timeline import Story, not_tested
from onlyvips_release.reporting.wording import span

TREND = 30
"""Releases that the trend shows."""


def report(story: Story, changed: Sequence[str] | None, files: Iterable[str]) -> str:
    """The page. `changed` None = there is no release before it; `files`: what lies beside it, relative."""
    runs = sorted(story.runs, key=lambda run: (not run.count("failed"), run.verdict == "PASS"))
    values = {"chart": svg(story), "runs": runs, "not_tested": not_tested(story), "changed": changed, "files": files}
    return render("report.html", story=story, **values)


def index(rows: Sequence[Mapping[str, Any]]) -> str:
    """All releases, newest first, with the trend; `rows` are summaries, and where each one's `page` is."""
    return render("index.html", rows=rows, trend=rows[:TREND], took=took)


def took(started: str, ended: str) -> str:
    """How long, "" = not recorded."""
    if not started or not ended:
        return ""
    return span((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())
