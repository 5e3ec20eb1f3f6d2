"""A folder per release with `summary.json`, and `index.html`: a plain list of all of them."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from onlyvips_release.lifecycle import Release
from onlyvips_release.reporting.terminal import verdict_of

STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
li{margin:.8rem 0}.PASS{color:#1a7f37}.FAIL{color:#cf222e}.INCONCLUSIVE{color:#9a6700}"""


def summary(release: Release, started: str, ended: str) -> dict[str, Any]:
    """The release in a few fields, for machines: also what `run --json` prints."""
    finished = release.finished
    return {
        "version": 1,
        "release": release.id,
        "platform": release.plan.platform,
        "phase": str(release.phase),
        "verdict": str(verdict_of(release)),
        "exit": finished.exit if finished else None,
        "sentence": finished.sentence if finished else "",
        "reason": release.outcome.reason if release.outcome else "",
        "weight": release.weight,
        "revisions": {name: {"stable": release.old[name], "canary": release.new[name]} for name in release.new},
        "serving": release.serving,
        "notes": release.noted,
        "metrics": list(release.outcome.metrics) if release.outcome else [],
        "started": started,
        "ended": ended,
    }


def write(reports: Path, found: dict[str, Any]) -> Path:
    """Keep the summary, renew the list; the list's path."""
    folder = reports / found["release"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    rows = [json.loads(path.read_text()) for path in sorted(reports.glob("r[0-9]*/summary.json"), reverse=True)]
    index = reports / "index.html"
    index.write_text(page(rows))
    return index


def page(rows: list[dict[str, Any]]) -> str:
    """All releases, newest first; no script, nothing from elsewhere."""
    items = "\n".join(
        f"<li><strong class='{html.escape(row['verdict'])}'>{html.escape(row['verdict'])}</strong> "
        f"<a href='{html.escape(row['release'])}/summary.json'>{html.escape(row['release'])}</a> "
        f"{html.escape(row['started'])}<br>{html.escape(row['sentence'])}</li>"
        for row in rows
    )
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'>{head}<title>Releases</title><h1>Releases</h1><ul>\n{items}\n</ul></html>\n"
