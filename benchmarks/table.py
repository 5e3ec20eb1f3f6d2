"""A table of what was measured against its bar."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. `ok` says whether the bar holds."""

    what: str
    seen: str
    bar: str
    ok: bool


def show(title: str, rows: list[Row]) -> int:
    """Markdown; the exit code: 0 = every bar holds."""
    sys.stdout.write(f"\n## {title}\n\n| What | Seen | Bar | |\n|---|---|---|---|\n")
    for row in rows:
        sys.stdout.write(f"| {row.what} | {row.seen} | {row.bar} | {'holds' if row.ok else '**MISSED**'} |\n")
    sys.stdout.flush()
    return 0 if all(row.ok for row in rows) else 1


def percentile(values: list[float], q: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]
