"""`summary.json`, whose fields are `Summary`, and `index.html`, a list of all releases. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from onlyvips_release.core.lifecycle import Release
from onlyvips_release.reporting.html import page, table, wide
from onlyvips_release.reporting.terminal import verdict_of
from onlyvips_release.reporting.wording import esc, span

VERSION = 1
"""Grows when a field goes or changes its meaning, never when one is added."""

TREND = 30
"""Releases that the trend shows."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A release in a few fields, for machines. `exit` and `weight` None = not known, `reason` "" = nothing was decided.

    `revisions`: service -> stable and canary; `serving`: service -> revision, "?" = not proven; `metrics`: the judge's
    view of each metric at its last word; `started` and `ended`: ISO 8601, "" = not recorded.
    """

    version: int
    release: str
    platform: str
    phase: str
    verdict: str
    exit: int | None
    sentence: str
    reason: str
    weight: float | None
    revisions: dict[str, dict[str, str]]
    serving: dict[str, str]
    notes: list[str]
    metrics: list[dict[str, Any]]
    started: str
    ended: str
    checks: dict[str, int]


def summary(release: Release, started: str, ended: str, checks: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The release in the fields of `Summary`: also what `run --json` prints. `checks`: outcome -> how many."""
    finished = release.finished
    found = Summary(
        version=VERSION,
        release=release.id,
        platform=release.plan.platform,
        phase=str(release.phase),
        verdict=str(verdict_of(release)),
        exit=finished.exit if finished else None,
        sentence=finished.sentence if finished else "",
        reason=release.outcome.reason if release.outcome else "",
        weight=release.weight,
        revisions={name: {"stable": release.old[name], "canary": release.new[name]} for name in release.new},
        serving=release.serving,
        notes=release.noted,
        metrics=[dict(metric) for metric in release.outcome.metrics] if release.outcome else [],
        started=started,
        ended=ended,
        checks=dict(checks or {}),
    )
    return asdict(found)


def schema() -> dict[str, Any]:
    """JSON Schema of `summary.json`."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - slow to import

    return TypeAdapter(Summary).json_schema()


def index(rows: Sequence[Mapping[str, Any]]) -> str:
    """All releases, newest first, with the trend; `rows` are summaries, and where each one's `page` is."""
    body = f"<header><h1>Releases</h1>{trend(rows[:TREND])}</header>"
    columns = {
        "Release": "time",
        "Platform": "text",
        "Outcome": "time",
        "Why": "text",
        "Checks": "",
        "Started (UTC)": "time",
        "Took": "time",
    }
    return page("Releases", f"{body}<main>{wide('Releases', table(columns, map(row, rows)))}</main>")


def row(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of one release."""
    verdict, checks = esc(found["verdict"]), found.get("checks", {})
    return (
        f"<a href='{esc(found['page'])}'>{esc(found['release'])}</a>",
        esc(found["platform"]),
        f"<span class='word {verdict}'>{verdict}</span>",
        esc(found["sentence"] or f"not finished: {found['phase']}", 300),
        esc(", ".join(f"{number} {word}" for word, number in checks.items() if number)),
        esc(found["started"][:19].replace("T", " ")),
        took(found["started"], found["ended"]),
    )


def took(started: str, ended: str) -> str:
    """How long, "" = not recorded."""
    if not started or not ended:
        return ""
    return span((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())


def trend(rows: Sequence[Mapping[str, Any]]) -> str:
    """Oldest left: a letter per release, and the share of promotions."""
    marks = [(esc(found["verdict"]), esc(found["release"])) for found in reversed(rows)]
    letters = " ".join(f"<span class='word {word}' title='{name}'>{word[:1]}</span>" for word, name in marks)
    promoted = sum(found["verdict"] == "PASS" for found in rows)
    told = f"{promoted} of the last {len(rows)} were promoted" if rows else "none yet"
    return f"<p>{told}: {letters}<br><span class='soft'>P promoted, F failed, I undecided or not finished</span></p>"
