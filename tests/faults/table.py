"""docs/seeded-faults.md: every seed, and the test that caught it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from tests.faults.bench import ROOT
from tests.faults.hunt import Caught
from tests.faults.seed import PACKAGE, Seed

DOC = ROOT / "docs" / "seeded-faults.md"
ROW = re.compile(r"\| (?P<what>.+) \| `(?P<area>.+)` \| (?:`(?P<by>.+)`|\*\*missed\*\*) \|")


def source_hash() -> str:
    """Of every module of the library that is no sandbox."""
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    texts = [path.read_bytes() for path in paths if not {"sandbox", "_suites"} & set(path.parts)]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def write(rows: Sequence[tuple[Seed, Caught]]) -> None:
    """The whole table."""
    caught = sum(bool(found.by) for _, found in rows)
    lines = [
        "# Seeded faults",
        "",
        f"Written by `python -m tests.faults --write` (`make long`) from sources `{source_hash()}`:",
        f"{caught} of {len(rows)} faults are caught by a fast test. Each is put into a copy of the library; then fast",
        "tests of the test files that import the broken module run, first those that run the broken statement.",
        "CI seeds a tenth, another one for each commit.",
        "",
        "| Fault | Area | Caught by |",
        "|---|---|---|",
        *(f"| {seed.what} | `{seed.area}` | {f'`{found.by}`' if found.by else '**missed**'} |" for seed, found in rows),
    ]
    DOC.write_text("\n".join(lines) + "\n")


def rows() -> list[tuple[str, str]]:
    """(fault, what caught it) of the committed table."""
    text = DOC.read_text() if DOC.exists() else ""
    return [(match["what"], match["by"] or "") for match in map(ROW.fullmatch, text.splitlines()) if match]


def hints() -> dict[str, str]:
    """Where to look first."""
    return dict(rows())
